"""The report as HTML."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from cda_mmseg.engine.hooks.teacher_hook import scores_teacher
from cda_mmseg.experiments.score_table import write_mean
from cda_mmseg.report.arms import (
    HEADLINE,
    Arm,
    class_names,
    mean,
    score_names,
    source_note,
    verdict,
    write_difference,
)
from cda_mmseg.report.pictures import Row, Scored
from cda_mmseg.visualization.html import render_page

STYLE = """
svg { max-width: 100%; height: auto; }
.confusion { font-size: 11px; }
.confusion td, .confusion th { padding: .1rem .3rem; text-align: center; }
.confusion td.cell { background: color-mix(in srgb, var(--bar) var(--share), transparent); }
.confusion th:first-child { text-align: right; }
.upright { writing-mode: vertical-rl; transform: rotate(180deg); }
.row { display: flex; gap: .5rem; overflow-x: auto; margin: .2rem 0 .8rem; }
figure { margin: 0; flex: 0 1 20rem; min-width: 6rem; }
figure img { display: block; width: 100%; }
figcaption { font-size: 12px; opacity: .8; }
.legend span { display: inline-block; margin-right: .9rem; white-space: nowrap; }
.legend i { display: inline-block; width: .8rem; height: .8rem; border: 1px solid var(--line); margin-right: .3rem; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; }
"""

PAGE = """<h1>{{ title }}</h1>
<p><b>{{ verdict }}</b></p>
<h2>Scores</h2>
<div class="table"><table>
<tr><th>run<th>seeds{% for name in scores %}<th>{{ heading(name) }}{% endfor %}
<th>best target mIoU (oracle){% if arms | length > 1 %}<th>target mIoU − {{ arms[0].name }}{% endif %}
{% for arm in arms %}
<tr><td>{{ arm.name }}<td>{{ arm.runs | length }}
{% for name in scores %}<td>{{ write_mean(arm.last(name)) or '–' }}{% endfor %}
<td>{{ write_mean(arm.best(headline)) or '–' }}
{% if arms | length > 1 %}
<td>{{ '' if loop.first else write_difference(arm.last(headline), arms[0].last(headline)) }}{% endif %}
{% endfor %}
</table></div>
<p>Percent, last snapshots{% if several %}, mean ± standard deviation over seeds; differences are paired by seed,
± half of their 95 % interval{% endif %}. The oracle chooses its snapshot by target labels, which adaptation does not
have.</p>
{% if figures.curves %}<h2>Both domains during training</h2>
{{ figures.curves }}{% endif %}
{% if figures.losses %}<h2>Losses</h2>
{{ figures.losses }}{% endif %}
{% for domain, classes in per_class.items() if classes %}
<h2>IoU per class, {{ heading(domain) }}</h2>
<div class="table"><table>
<tr><th>class{% for arm in arms %}<th>{{ arm.name }}{% endfor %}
{% for name in classes %}
<tr><td>{{ name }}{% for arm in arms %}{% set found = arm.last(domain ~ '/IoU.' ~ name) %}
<td class="bar" style="--share: {{ '%.1f' | format(mean(found) if found else 0) }}%">{{ write_mean(found) or '–' }}
{%- endfor %}
{% endfor %}
</table></div>
{% endfor %}
{% if missing or scored %}
<h2>Predictions on the target</h2>
<ul>
{% for one in scored %}
<li>{{ one.run.title }}: {{ one.results | length }} of {{ one.dataset | length }} images, by
{{ one.run.checkpoint.name }}
{%- if not one.is_labelled %}; they have no labels, so that nothing can be said of errors{% endif %}
{%- if scores_teacher(one.run.config) %}; they are the student's, the scores are its averaged teacher's{% endif %}.
{% endfor %}
{% for name, reason in missing.items() %}
<li class="bad">{{ name }}: no predictions, {{ reason.rstrip('.') }}.{% endfor %}
</ul>
{% for one in scored if one.is_labelled %}{% set table = one.confusion %}
<details{{ ' open' if loop.last }}><summary>What is taken for what, {{ one.run.title }}</summary>
<div class="table"><table class="confusion">
<tr><th>true ↓ predicted →{% for name in one.classes %}<th><span class="upright">{{ name }}</span>{% endfor %}
{% for name in one.classes %}{% set counts = table[loop.index0] %}
<tr><th>{{ name }}{% for count in counts %}{% set share = 100 * count / (counts.sum() or 1) %}
<td class="cell" style="--share: {{ '%.1f' | format(share) }}%">{{ '%.0f' | format(share) if share >= 0.5 }}{% endfor %}
{% endfor %}
</table></div>
<p>Percent of the true class's pixels.</p></details>
{% endfor %}
{% for group, members in rows.items() %}
<h3>{{ group }}, {{ scored[-1].run.title }}</h3>
{% for row in members %}
<div>{{ row.caption }}</div>
<div class="row">{% for caption, address in row.pictures.items() %}
<figure><img src="{{ address }}" alt="{{ caption }}" loading="lazy"><figcaption>{{ caption }}</figcaption></figure>
{%- endfor %}</div>
{% endfor %}{% endfor %}
{% if rows %}
<p class="legend">{% for name in scored[-1].classes %}
<span><i style="background: rgb({{ scored[-1].palette[loop.index0] | join(', ') }})"></i>{{ name }}</span>{% endfor %}
<span><i style="background: #000"></i>not labelled</span> <span><i style="background: #b20010"></i>wrong</span></p>
{% endif %}{% endif %}
<h2>Runs</h2>
{% for arm in arms %}{% for run in arm.runs %}
<h3>{{ run.title }}</h3>
<p class="{{ '' if run.is_finished else 'bad' }}">{{ run.state }}.</p>
<div class="table"><table>
<tr><th>started<th>took<th class="text">command
{% for launch in run.launches %}
<tr><td>{{ launch.begin }}<td>{{ launch.duration }}
<td class="text"><pre>{{ launch.record.get('command', 'not recorded') }}</pre>
{% endfor %}
</table></div>
{% for launch in run.launches[-1:] if launch.record %}
<p>{{ launch.record.machine }}; processes: {{ launch.record.processes }};
{% for name, version in launch.record.versions.items() %}{{ name }} {{ version }}{{ ', ' if not loop.last }}
{%- endfor %}</p>
<details><summary>{{ launch.record.config }}: {{ launch.record.changes | length }} changes to its bases</summary>
<pre>{{ launch.record.changes | join('\\n') }}</pre></details>
{% endfor %}
<p>{{ run.work_dir }}</p>
{% endfor %}{% endfor %}
</html>
"""


def write_page(
    arms: Sequence[Arm],
    figures: Mapping[str, Markup],
    scored: Sequence[Scored],
    missing: Mapping[str, str],
    rows: Mapping[str, Sequence[Row]],
) -> str:
    """Write the page.

    Args:
        arms: The runs; the first is the baseline.
        figures: 'curves' and 'losses' as SVG, where there are any.
        scored: What arms predict on the target; the last one's pictures are shown.
        missing: Arm → why it predicts nothing.
        rows: Heading → images, whose pictures are addresses of themselves.

    Returns:
        str: HTML.
    """
    note = source_note(arms, ' ({})')
    return render_page(
        PAGE,
        ', '.join(arm.name for arm in arms),
        STYLE,
        arms=arms,
        verdict=verdict(arms),
        scores=score_names(arms),
        several=any(len(arm.runs) > 1 for arm in arms),
        headline=HEADLINE,
        figures={'curves': '', 'losses': '', **figures},
        per_class={domain: class_names(arms, domain) for domain in ('target', 'source')},
        scored=scored,
        missing=missing,
        rows=rows,
        heading=lambda name: name.replace('/', ' ').replace('_', ' ') + (note if name.startswith('source') else ''),
        scores_teacher=scores_teacher,
        write_mean=write_mean,
        write_difference=write_difference,
        mean=lambda scores: float(np.clip(mean(scores), 0, 100)),
    )
