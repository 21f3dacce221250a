"""The API as an ASGI application, built from the table of routes over a console. Called by `app` and by tests."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from roost import clock
from roost.admin.ask import Ask
from roost.admin.caller import caller_of
from roost.admin.errors import HANDLERS
from roost.admin.ports import Console
from roost.admin.routes import ROWS, Row


def build(console: Console) -> Starlette:
    """The application. Its answers are as fresh as the console's; it keeps no state of its own."""
    started = int(clock.wall())
    routes = [_route(row, console, started) for row in ROWS]
    app = Starlette(routes=routes, exception_handlers=dict(HANDLERS))
    app.router.redirect_slashes = False
    return app


def _route(row: Row, console: Console, started: int) -> Route:
    async def serve(request: Request) -> Response:
        caller = caller_of(request.headers)
        caller.must(row.need)
        return await row.handler(Ask(request, caller, console, started, row.options))

    return Route(row.path, serve, methods=[row.method], name=f"{row.method} {row.path}")
