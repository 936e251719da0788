"""What a survey of data found, as one HTML file that needs no network."""

from collections.abc import Mapping

import numpy as np

from cda_mmseg.inspection.survey import Survey
from cda_mmseg.visualization.html import render_page

PAGE = """<h1>Data of {{ name }}</h1>
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
<td>{{ numbers(data.mean) }}<td>{{ numbers(data.deviation) }}
<td>{{ '%.0f' | format(data.sizes.total() / data.seconds) if data.seconds else '' }}
{% endfor %}
<tr><td>model.data_preprocessor<td class="text">subtracted, divided by<td><td><td>
<td>{{ numbers(preprocessor.mean) }}<td>{{ numbers(preprocessor.std) }}<td>
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
    return render_page(
        PAGE,
        f'Data of {name}',
        survey=survey,
        name=name,
        verdict=verdict(survey),
        labelled=[data for data in survey.data_sets if data.labels],
        preprocessor=dict(mean=preprocessor.get('mean', ()), std=preprocessor.get('std', ())),
        numbers=lambda values: ' '.join(f'{value:.1f}' for value in np.ravel(values)),
    )
