"""HTML pages that are one file, need no network, and can be read in light and dark."""

import jinja2

HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --line: #8884; }
:root { --bar: light-dark(#56b4e9, #0072b2); --bad: light-dark(#b00020, #ff8a80); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child, .text { text-align: left; }
.bar { background: linear-gradient(to right, var(--bar) var(--share), transparent var(--share)); min-width: 9rem; }
td { white-space: nowrap; }
.bad { color: var(--bad); }
.table { overflow-x: auto; }
li { overflow-wrap: anywhere; margin: .3rem 0; }
{{ style }}
</style>
"""


def render_page(template: str, title: str, style: str = '', **values: object) -> str:
    """Fill in a template that goes on after the page's head.

    Args:
        template (str): Jinja2; ``markupsafe.Markup`` alone is not escaped.
        title (str): Title of the page.
        style (str): Further CSS.
        **values: What the template names.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(HEAD + template).render(title=title, style=style, **values)
