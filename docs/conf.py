"""The site's builder: Sphinx with Furo and MyST (`make docs`). No page asks anything of another host."""

from __future__ import annotations

import pkgutil
import re
from contextlib import suppress
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

from counterpoint import __version__

project = "Counterpoint"
author = "The Counterpoint authors"
project_copyright = "The Counterpoint authors, Apache-2.0"
version = release = __version__
html_title = "Counterpoint"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design", "sphinx_copybutton"]
exclude_patterns = ["_build", "results/bench", "results/claims", "results/conformance"]
myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

nitpicky = True
nitpick_ignore_regex = [
    (
        "py:class|py:exc|py:attr|py:data",
        r".*",
    ),  # types in signatures: torch's and Python's, which have sites of their own
]
default_role = "py:obj"  # a name in single backticks of a docstring is a link
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/logo.svg"
html_logo = "_static/logo.svg"
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#4338ca", "color-brand-content": "#4338ca"},
    "dark_css_variables": {"color-brand-primary": "#a5b4fc", "color-brand-content": "#a5b4fc"},
}
copybutton_exclude = ".linenos, .gp, .go"
pygments_style = "tango"
pygments_dark_style = "github-dark"


def _inline(self: Any, node: nodes.Element) -> None:
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _display(self: Any, node: nodes.Element) -> None:
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _exists(node: Any) -> bool:
    """Whether a name that no page describes is one of ours nevertheless: then it is plain code."""
    target, module = node["reftarget"].strip("."), node.get("py:module") or ""
    owner = _find(f"{module}.{node.get('py:class') or ''}".strip("."))
    places = [
        "" if target.startswith("counterpoint") else "counterpoint.",
        f"{module}.",
        f"{getattr(owner, '__module__', '')}.",
        f"{module}.{node.get('py:class')}.",
    ]
    return any(_find(place + target) is not None for place in places)


def _find(name: str) -> Any:
    """The object of this dotted name, or None."""
    with suppress(Exception):
        return pkgutil.resolve_name(name)
    return None


def _signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Signatures that Sphinx can read: short type names, no default factories, nothing where nothing is said."""
    if signature is None or signature == "(*args: Any, **kwargs: Any)":
        return None if signature is None else "", returns
    return re.sub(r"~(\w+\.)+", "", signature).replace("<factory>", "..."), returns


def _resolve(app: Sphinx, env: Any, node: Any, content: nodes.Element) -> nodes.Element | None:
    """A name in backticks that says enough by itself: ``knn_search``, ``objectives.gather``."""
    if node.get("refdomain") != "py":
        return None
    ending = re.compile(rf"(^|\.){re.escape(node['reftarget'].strip('.'))}$")
    found = [(name, entry) for name, entry in env.domains["py"].objects.items() if ending.search(name)]
    places = {(entry.docname, entry.node_id) for _, entry in found}
    if not found or (len(places) > 1 and node["reftype"] == "obj"):
        return content if _exists(node) else None
    name, entry = min(found, key=lambda one: len(one[0]))
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)


def setup(app: Sphinx) -> None:
    """MathML, which browsers draw by themselves, and short names as links."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-signature", _signature)
