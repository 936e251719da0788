"""How `make docs` builds its pages: from the Markdown files of this repository as they are."""

project = 'cda_mmseg'
html_title = project
extensions = ['myst_parser', 'sphinxcontrib.mermaid']
root_doc = 'docs/index'
include_patterns = ['*.md', 'configs/README.md', 'docs/**.md']
exclude_patterns = ['.*', 'data', 'work_dirs']  # not walked through
html_theme = 'furo'
myst_heading_anchors = 4
myst_fence_as_directive = ['mermaid']
linkcheck_timeout = 20
