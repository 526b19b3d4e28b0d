"""A hook of MkDocs: the pages of the repository, and the files that they link to, as a site."""

import re
from html import unescape
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
OUTSIDE_DOCS: Final = ("*.md", "monai_bundle/docs/*.md")
PICTURES: Final = ("docs/**/*.png", "docs/**/*.svg")
EXTERNAL: Final = "external_links.txt"
MERMAID: Final = ROOT / ".cache" / "mermaid" / "mermaid.min.js"  # of deploy/setup/mermaid.sh

_external: set[str] = set()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let the site's own Mermaid draw diagrams; without it leave them text.

    The theme would load Mermaid from elsewhere.
    """
    if MERMAID.exists():
        config.extra_javascript.append(MERMAID.name)
    else:
        config.mdx_configs["pymdownx.superfences"]["custom_fences"] = []
    return config


def pages() -> list[Path]:
    """Return every page of the site."""
    return sorted(path for each in (*OUTSIDE_DOCS, "docs/**/*.md") for path in ROOT.glob(each))


def linked_files(page: Path) -> set[Path]:
    """Return the files of the repository, other than pages, that a page links to."""
    targets = re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", page.read_text())
    found = {(page.parent / target).resolve() for target in targets if "://" not in target}
    return {path for path in found if path.is_file() and path.suffix != ".md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take each file by its path in the repository, and what pages link to as it is."""
    ours = pages()
    others = {path for page in ours for path in linked_files(page)}
    others |= {path for each in PICTURES for path in ROOT.glob(each)}
    placed = dict.fromkeys([*ours, *sorted(others)], ROOT)
    if MERMAID.exists():
        placed[MERMAID] = MERMAID.parent
    of_the_theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files(
        of_the_theme
        + [
            File(str(path.relative_to(base)), str(base), config.site_dir, use_directory_urls=False)
            for path, base in placed.items()
        ]
    )


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 -- MkDocs passes them by name
    """Note the links that leave the site; nothing fetches them."""
    _external.update(
        f"{unescape(url)}  {page.file.src_uri}" for url in re.findall(r'href="(\w+://[^"]+)"', html)
    )
    return html


def on_post_build(config: MkDocsConfig) -> None:
    """Write the list of links that leave the site."""
    (Path(config.site_dir) / EXTERNAL).write_text("".join(f"{e}\n" for e in sorted(_external)))
