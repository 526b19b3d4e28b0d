from service.web.markdown import rendered


def test_a_card_becomes_headings_lists_tables_code_and_links() -> None:
    html = rendered(
        "# One more\n\nA **bold** `code` [link](https://example.org/a) [below](#b).\n\n- item\n\n"
        "| A | B |\n|---|---|\n| 1 | 2 |\n\n```\nx < y\n```\n"
    )
    for part in (
        '<h2 id="one-more">One more</h2>',
        "<strong>bold</strong> <code>code</code>",
        '<a href="https://example.org/a">link</a> <a href="#b">below</a>',
        "<li>item</li>",
        '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>',
        "<td>2</td>",
        "x &lt; y",
    ):
        assert part in html


def test_a_hostile_card_is_text() -> None:
    html = rendered(
        "<script>a()</script> <b onclick=x>b</b>\n\n[c](javascript:a) [d](http://e.org) "
        "![f](f.png) [g](docs/g.md)"
    )
    for part in ("<script", "<b ", "<a ", "<img"):
        assert part not in html
    assert "&lt;script&gt;" in html
