"""What all figures share: colours, and the files they are saved to."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito, 'Color Universal Design', 2008: told apart with every common colour vision. Its yellow is left out
# because lines in it cannot be seen on paper.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')

GREY = '#666666'

STYLE = {
    'font.size': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.color': '#dddddd',
    'grid.linewidth': 0.6,
    'legend.frameon': False,
    'lines.linewidth': 1.3,
    'svg.fonttype': 'none',
    'pdf.fonttype': 42,
}


def new_figure(width: float, height: float) -> 'Figure':
    """Make an empty figure that no global state of matplotlib knows of.

    Args:
        width (float): Width in inches.
        height (float): Height in inches.

    Returns:
        Figure: The figure; it draws without a display.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout='constrained')


def save_figure(
    figure: 'Figure', path: str | Path, suffixes: Sequence[str] = ('.png', '.svg', '.pdf'), dpi: int = 160
) -> list[Path]:
    """Save a figure as pixels for the screen and as vectors for print.

    Args:
        path (str | Path): Where to, without suffix; the folder is made if need be.
        suffixes (Sequence[str]): One file each.
        dpi (int): Pixels per inch of the PNG and of pictures inside the vector files.

    Returns:
        list[Path]: The files.
    """
    from matplotlib import rc_context

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(path.name + suffix) for suffix in suffixes]
    with rc_context(STYLE):
        for file in files:
            # Without a date in it, the same figure gives the same file.
            metadata = {'.svg': {'Date': None}, '.pdf': {'CreationDate': None}}.get(file.suffix)
            figure.savefig(file, dpi=dpi, metadata=metadata, bbox_inches='tight')
    return files


def inline_svg(figure: 'Figure') -> str:
    """Draw a figure as SVG for an HTML page, light or dark: black becomes the page's text colour."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(STYLE | {'svg.hashsalt': 'cda_mmseg'}):
        figure.savefig(file, format='svg', transparent=True, bbox_inches='tight', metadata={'Date': None})
    svg = file.getvalue()
    svg = svg[svg.index('<svg') :].replace('#000000', 'currentColor').replace(STYLE['grid.color'], '#88888844')
    svg = svg.replace(GREY, '#808080')  # as far from black as from white
    # matplotlib leaves out the colour of black text
    return svg.replace('<svg', '<svg fill="currentColor"', 1)
