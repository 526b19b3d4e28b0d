"""What axe-core finds on a page, by the rules of WCAG 2.1, A and AA."""

from typing import Any, Final

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

_RULES: Final = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "rules": {"heading-order": {"enabled": True}},  # a best practice, and a rule of the project
    "resultTypes": ["violations"],
}


def violations(page: Page) -> list[str]:
    """List the violations on a page as it is now, each with where it is.

    axe-core goes in over the debugging protocol, to which the page's content security policy does
    not apply. So the page is judged under its own policy, and nothing of it is switched off.
    """
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE_SCRIPT)
    found: dict[str, Any] = page.evaluate("rules => axe.run(document, rules)", _RULES)
    return [
        f"{rule['id']}: {', '.join(map(str, node['target']))}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
