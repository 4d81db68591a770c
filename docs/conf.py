"""The documentation site: Markdown pages as they stand in the repository, and what is made from the code when the site is built."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]
os.environ.setdefault("MPLBACKEND", "Agg")

import exitwave  # noqa: E402

project = "exitwave"
author = copyright = "exitwave contributors"
version = release = exitwave.__version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "repository_pages",
    "formats_table",
    "extras_table",
    "command_reference",
    "room_reference",
    "named_things",
]
exclude_patterns = ["_build", "_ext", "**/GALLERY_HEADER.*", "examples/*.ipynb", "examples/*.py", "examples/*.json"]
nitpick_ignore_regex = [(r"py:.*", r"(?!exitwave\.).*")]  # other packages' names stay plain text: building the site asks no network

myst_heading_anchors = 3
myst_links_external_new_tab = False

default_role = "code"
smartquotes = False  # "300 kV" is typed with straight ones
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures are shown as the source writes them, see room_reference
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 90
python_display_short_literal_types = True
add_module_names = False
toc_object_entries_show_parents = "hide"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "examples",
    "filename_pattern": r"/02_",  # 01 needs a measured scan; its pictures are in gallery.md
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "abort_on_example_error": True,
    "capture_repr": (),
}

html_theme = "furo"
html_title = f"exitwave {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "tango"
highlight_language = "none"  # formulas stand in indented blocks
