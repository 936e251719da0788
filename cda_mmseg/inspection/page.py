"""What a survey of data found, as one HTML file that needs no network."""

from collections.abc import Mapping

import jinja2
import numpy as np

from cda_mmseg.inspection.survey import Survey

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Data of {{ name }}</title>
<style>
:root { color-scheme: light dark; --line: #8884; --bar: #56b4e9aa; --bad: light-dark(#b00020, #ff8a80); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child, .text { text-align: left; }
.bar { background: linear-gradient(to right, var(--bar) var(--share), transparent var(--share)); min-width: 9rem; }
td { white-space: nowrap; }
.bad { color: var(--bad); }
.table { overflow-x: auto; }
li { overflow-wrap: anywhere; margin: .3rem 0; }
</style>
<h1>Data of {{ name }}</h1>
<p><b class="{{ 'bad' if survey.findings }}">{{ verdict }}</b></p>
{% if survey.findings %}
<h2>Findings</h2>
<ol>
{% for finding in survey.findings %}
<li>{{ finding.message }}
{% if finding.files | length > 1 %}
<details><summary>{{ finding.files | length }} files</summary>
<ul>{% for path in finding.files %}<li>{{ path }}</li>{% endfor %}</ul></details>
{% endif %}</li>
{% endfor %}
</ol>
{% endif %}
{% if survey.remarks %}
<h2>Worth knowing</h2>
<ul>{% for remark in survey.remarks %}<li>{{ remark }}</li>{% endfor %}</ul>
{% endif %}
<h2>Data sets</h2>
<div class="table"><table>
<tr><th>key<th class="text">role<th>images<th>labels read<th>width × height<th>mean R G B<th>deviation R G B<th>images/s
{% for data in survey.data_sets %}
<tr><td>{{ data.place }}<td class="text">{{ data.role }}<td>{{ data.images }}<td>{{ data.labels or 'none' }}
<td>{% for (width, height), number in data.sizes.most_common(5) %}{{ number }} of {{ width }} × {{ height }}<br>
{% endfor %}{% if data.sizes | length > 5 %}and {{ data.sizes | length - 5 }} more sizes{% endif %}
<td>{{ data.mean | numbers }}<td>{{ data.deviation | numbers }}
<td>{{ '%.0f' | format(data.sizes.total() / data.seconds) if data.seconds else '' }}
{% endfor %}
<tr><td>model.data_preprocessor<td class="text">subtracted, divided by<td><td><td>
<td>{{ preprocessor.mean | numbers }}<td>{{ preprocessor.std | numbers }}<td>
</table></div>
<p>Reading alone, images and labels, without augmentation. The target's training labels were not opened.</p>
<h2>Shares of the classes</h2>
<div class="table"><table>
<tr><th>class{% for data in labelled %}<th>{{ data.role }}{% endfor %}
{% for class in survey.classes %}{% set row = loop.index0 %}
<tr><td>{{ class }}
{% for data in labelled %}{% set share = data.pixels[row] / (data.pixels.sum() or 1) %}
<td class="bar" style="--share: {{ '%.2f' | format(100 * share) }}%">
{%- if share %}{{ '%.2f' | format(100 * share) }} %{% else %}<span class="bad">never</span>{% endif %}
{% endfor %}{% endfor %}
</table></div>
</html>
"""


def verdict(survey: Survey) -> str:
    """Say in a sentence what came out."""
    images = sum(data.images for data in survey.data_sets)
    what = f'in {images} images of {len(survey.data_sets)} data sets'
    return f'{len(survey.findings)} findings {what}.' if survey.findings else f'Nothing wrong {what}.'


def write_page(survey: Survey, name: str, preprocessor: Mapping) -> str:
    """Write the page.

    Args:
        survey (Survey): What was found.
        name (str): Name of the config.
        preprocessor (Mapping): ``model.data_preprocessor``, for its ``mean`` and ``std``.

    Returns:
        str: HTML.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters['numbers'] = lambda values: ' '.join(f'{value:.1f}' for value in np.ravel(values))
    return environment.from_string(PAGE).render(
        survey=survey,
        name=name,
        verdict=verdict(survey),
        labelled=[data for data in survey.data_sets if data.labels],
        preprocessor=dict(mean=preprocessor.get('mean', ()), std=preprocessor.get('std', ())),
    )
