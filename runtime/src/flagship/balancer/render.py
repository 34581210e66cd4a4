# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From services to the text of a configuration file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from flagship.services import Instance

BUNDLED = Path(__file__).with_name("templates")


class RenderError(Exception):
    """A template is missing or wrong; the text is one sentence."""


def render(template: str, services: Mapping[str, Sequence[Instance]]) -> str:
    """The text that `template` makes of the services; raises RenderError.

    `template` is the path of a Jinja2 template or the name of a bundled one (`nginx`). It is given `services`: for each
    service's name its instances in order, each with name, host, port, address and key.
    """
    path = Path(template) if "/" in template else BUNDLED / f"{template}.conf.j2"
    environment = jinja2.Environment(  # noqa: S701 (configuration files are not HTML)
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    try:
        return environment.from_string(path.read_text(encoding="utf-8")).render(services=services)
    except (OSError, UnicodeDecodeError) as error:
        raise RenderError(f"template {path} cannot be read: {error}.") from None
    except jinja2.TemplateSyntaxError as error:
        raise RenderError(
            f"template {path}, line {error.lineno}: {(error.message or 'syntax error').rstrip('.')}."
        ) from None
    except Exception as error:  # a template can run into any exception of Python
        raise RenderError(
            f"template {path} does not render: {type(error).__name__}: {str(error).rstrip('.')}."
        ) from None
