# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From services to the text of a configuration file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from flagship.services import Instance

BUNDLED = Path(__file__).with_name("templates")


class RenderError(Exception):
    """A template is missing or wrong; the text is one sentence."""


@dataclass(frozen=True)
class Rendered:
    """A configuration file's text, and 16 hex digits that name it, in which they may stand themselves."""

    text: str
    digest: str


def render(
    template: str,
    services: Mapping[str, Sequence[Instance]],
    *,
    node: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> Rendered:
    """What `template` makes of the services; raises RenderError.

    `template` is the path of a Jinja2 template or the name of a bundled one (`nginx`, `haproxy`). It is given
    `services`: for each service's name its instances in order, each with name, host, port, address and key; `node`: the
    machine; `variables`: the operator's; `digest`: 16 hex digits that name what is rendered.
    """
    path = Path(template) if "/" in template else BUNDLED / f"{template}.conf.j2"
    environment = jinja2.Environment(  # noqa: S701 (configuration files are not HTML)
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["server_name"] = server_name
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RenderError(f"template {path} cannot be read: {error}.") from None
    data = {"services": services, "node": node or {}, "variables": variables or {}}
    try:
        compiled = environment.from_string(source)
        # Not of the data: services that a template makes no use of may change as they like.
        digest = hashlib.sha256(compiled.render(**data, digest="").encode()).hexdigest()[:16]
        return Rendered(compiled.render(**data, digest=digest), digest)
    except jinja2.TemplateSyntaxError as error:
        raise RenderError(
            f"template {path}, line {error.lineno}: {(error.message or 'syntax error').rstrip('.')}."
        ) from None
    except Exception as error:  # a template can run into any exception of Python
        raise RenderError(
            f"template {path} does not render: {type(error).__name__}: {str(error).rstrip('.')}."
        ) from None


def server_name(text: str) -> str:
    """A name that HAProxy accepts for a server, of its own for each text: the text itself where it can be."""
    if re.fullmatch(r"[A-Za-z0-9_:.-]{1,100}", text):
        return text
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{re.sub('[^A-Za-z0-9_:.-]', '_', text)[:80]}-{mark}"
