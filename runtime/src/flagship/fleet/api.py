# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet's HTTP API v1 (fleet 1.0.0, Documentation/api-v1.md) as a WSGI application."""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from flagship.etcd import EtcdError
from flagship.fleet import api_json
from flagship.fleet.api_discovery import discovery_document
from flagship.fleet.api_json import ApiError
from flagship.fleet.engine import Engine
from flagship.fleet.metrics import metrics_text
from flagship.fleet.placement import drain_report, why_not
from flagship.fleet.registry import Store
from flagship.fleet.view import View

log = logging.getLogger(__name__)

PREFIXES = ("/fleet/v1", "/v1-alpha")
_ANY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
# Attempts to write a unit: what this node knows of it may be old, which only a write finds out, so all else is decided
# on what etcd says when it is asked.
_FRESH = (False, *[True] * 5)


class Api:
    """The application; it reads the view, and writes through the store.

    *available* says whether this node is part of the cluster now: if not, every path is answered 503.
    A write is answered when the view shows it, so whoever reads after it here sees it.
    """

    def __init__(
        self,
        store: Store,
        view: View,
        available: Callable[[], bool],
        token_limit: int,
        engine: Engine | None,
    ) -> None:
        self._store = store
        self._view = view
        self._available = available
        self._limit = token_limit
        self._engine = engine
        self.application = app = Flask("fleet", static_folder=None)
        app.url_map.merge_slashes = False
        app.json.sort_keys = False  # type: ignore[attr-defined]
        app.before_request(self._before)
        app.after_request(_log)
        app.register_error_handler(ApiError, lambda error: _error(error.code, str(error)))
        app.register_error_handler(HTTPException, _http_error)
        app.register_error_handler(EtcdError, _store_error)
        app.register_error_handler(Exception, _unexpected)
        for prefix in PREFIXES:
            self._route(prefix, "/units", GET=self._list_units)
            self._route(prefix, "/units/<name>", GET=self._get_unit, PUT=self._put_unit, DELETE=self._delete_unit)
            self._route(prefix, "/state", GET=self._list_states)
            self._route(prefix, "/state/<name>", GET=self._get_state)
            self._route(prefix, "/machines", GET=self._list_machines, PATCH=self._patch_machines)
            self._route(prefix, "/discovery", **dict.fromkeys(_ANY, _discovery))
            self._route(prefix, "", **dict.fromkeys(_ANY, _not_allowed))
        self._route("", "/", **dict.fromkeys(_ANY, _not_allowed))
        self._route("", "/metrics", GET=self._metrics)
        self._route("/flagship/v1", "/why/<name>", GET=self._why)
        self._route("/flagship/v1", "/machines/<machine>", GET=self._get_machine)
        self._route("/flagship/v1", "/machines/<machine>/schedulable", PUT=self._put_schedulable)

    def _route(self, prefix: str, path: str, **views: Callable[..., Any]) -> None:
        """Serve exactly these methods: none is added by itself, HEAD and OPTIONS included."""

        def view(**arguments: str) -> Any:
            return views[request.method](**arguments)

        rule = self.application.url_rule_class(prefix + path, methods=list(views), endpoint=prefix + path)
        if rule.methods is not None and "HEAD" not in views:
            rule.methods.discard("HEAD")
        self.application.url_map.add(rule)
        self.application.view_functions[prefix + path] = view

    def _before(self) -> Response | None:
        if not self._available():
            return _error(503, "fleet server unable to communicate with etcd")
        path = request.environ.get("REQUEST_URI", request.path).partition("?")[0]
        if path.startswith("/"):
            clean = re.sub("^//", "/", posixpath.normpath(path))
            clean += "/" if path.endswith("/") and clean != "/" else ""
            if clean != path:
                query = request.query_string.decode("ascii", "replace")
                return Response(status=301, headers={"Location": clean + (f"?{query}" if query else "")})
        return None

    # Units.

    def _list_units(self) -> Response:
        return self._page(self._view.unit_list(), "units", lambda unit: api_json.unit_entity(unit, listed=True))

    def _get_unit(self, name: str) -> Response:
        found = self._view.unit(name)
        if found is None:
            raise ApiError(404, "unit does not exist")
        return jsonify(api_json.unit_entity(found, listed=False))

    def _put_unit(self, name: str) -> Response:
        content_type = request.headers.get("Content-Type", "")
        # A comma is where WSGI has joined several headers.
        if content_type.partition(";")[0].strip() != "application/json" or "," in content_type:
            raise ApiError(415, "only Content-Type application/json is supported; send it once")
        body = api_json.put_body(request.get_data(), name)
        for fresh in _FRESH:
            existing, revision = self._store.read(name) if fresh else self._view.stored_unit(name)
            try:
                unit, status = api_json.put_result(existing, name, body)
            except ApiError:
                if fresh:
                    raise
                continue
            if unit == existing and not fresh:
                continue
            written: int | None = revision if unit == existing else self._store.write(unit, revision)
            if written is not None:
                self._await(written)
                return _empty(status)
        raise ApiError(409, f"unit {name} is being changed by others at the same time; try again")

    def _delete_unit(self, name: str) -> Response:
        for fresh in _FRESH:
            _unit, revision = self._store.read(name) if fresh else self._view.stored_unit(name)
            if revision == 0 and fresh:
                raise ApiError(404, "unit does not exist")
            deleted = self._store.delete(name, revision) if revision else None
            if deleted is not None:
                self._await(deleted)
                return _empty(204)
        raise ApiError(409, f"unit {name} is being changed by others at the same time; try again")

    def _await(self, revision: int) -> None:
        if not self._view.wait_revision(revision, self._store.timeout):
            raise ApiError(500, "the change is written, but this node does not see it yet; read again")

    # States.

    def _list_states(self) -> Response:
        machine, name = request.args.get("machineID", ""), request.args.get("unitName", "")
        states = [s for s in self._view.state_list() if name in ("", s[0]) and machine in ("", s[1])]
        return self._page(states, "states", lambda state: api_json.state_entity(*state))

    def _get_state(self, name: str) -> Response:
        # fleetctl 1.0.0 crashes on a 404 here; with a bare name it goes on polling.
        found = self._view.state_of(name)
        return jsonify(api_json.state_entity(name, *found) if found else {"name": name})

    # Machines.

    def _list_machines(self) -> Response:
        return self._page(self._view.effective_machines(), "machines", api_json.machine_entity)

    def _patch_machines(self) -> Response:
        revision = 0
        for machine, key, value in api_json.metadata_changes(request.get_data()):
            revision = self._store.set_metadata(machine, key, value)
        self._await(revision)
        response = _empty(204)
        response.headers["Content-Type"] = "application/json"
        return response

    # Others.

    def _page(self, items: list[Any], member: str, entity: Callable[[Any], Any]) -> Response:
        return jsonify(api_json.page(items, request.args.getlist("nextPageToken"), self._limit, member, entity))

    def _metrics(self) -> Response:
        return Response(metrics_text(self._engine), content_type="text/plain; version=0.0.4")

    def _why(self, name: str) -> Response:
        """Not of fleet: for each machine why it does not run the unit, "" where it is scheduled."""
        cluster = self._view.cluster()
        if name not in cluster.units and name not in cluster.unreadable:
            raise ApiError(404, "unit does not exist")
        reasons = why_not(cluster, name)
        return jsonify({"unit": name, "machines": [{"id": m, "reason": reason} for m, reason in reasons.items()]})

    def _get_machine(self, machine: str) -> Response:
        """Not of fleet: whether a machine takes units or is being drained, and which it has and why they stay."""
        cluster = self._view.cluster()
        found = cluster.machines.get(machine)
        if found is None:
            raise ApiError(404, "machine does not exist")
        return jsonify(
            {
                **api_json.machine_entity(found),
                **api_json.schedulable(cluster.cordons.get(machine)),
                "units": [{"name": n, "reason": reason} for n, reason in drain_report(cluster, machine).items()],
            }
        )

    def _put_schedulable(self, machine: str) -> Response:
        cordon = api_json.cordon(request.get_data())
        cluster = self._view.cluster()
        found = cluster.cordons.get(machine)
        if machine not in cluster.machines and found is None:
            raise ApiError(404, "machine does not exist")
        # The same order again must not forget what is moving.
        if api_json.schedulable(found) != api_json.schedulable(cordon):
            self._await(self._store.set_cordon(machine, cordon))
        return _empty(204)


def _log(response: Response) -> Response:
    log.debug("%s %s: %s", request.method, request.full_path.rstrip("?"), response.status_code)
    return response


def _empty(status: int) -> Response:
    response = Response(status=status)
    del response.headers["Content-Type"]
    return response


def _error(code: int, message: str) -> Response:
    response = jsonify({"error": {"code": code, "message": message}})
    response.status_code = code
    return response


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    message = ""
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        message = f"only {', '.join(sorted(error.valid_methods))} supported against this resource"
    return _error(code, message)


def _store_error(error: Exception) -> Response:
    log.warning("%s %s failed: %s", request.method, request.path, error)
    return _error(500, str(error))


def _unexpected(error: Exception) -> Response:
    log.error("%s %s failed.", request.method, request.path, exc_info=error)
    return _error(500, "the server failed; see its journal: journalctl -u fleet")


def _not_allowed() -> Response:
    return _error(405, "")


def _discovery() -> Response:
    if request.method != "GET":
        raise ApiError(400, "only GET supported against this resource")
    return jsonify(discovery_document())
