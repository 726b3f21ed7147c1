"""`/docs` from a package's files: nothing is loaded from another host."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from hean_router.api.errors import ApiError, seen

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".png": "image/png"}
_FILES: Final = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
# The page's style sheet sets styles in place, and its icons are data: nothing else is let in.
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {"Content-Security-Policy": CSP}

PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>HEAN Router</title>
<link rel="icon" href="/docs/favicon-32x32.png"><link rel="stylesheet" href="/docs/swagger-ui.css">
</head><body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script>
</body></html>
"""
# The packaged page reads OpenAPI 3.0 and no later; what we serve is 3.1.  For showing, the few
# words that differ are put into the older ones; /openapi.json stays as it is.
START: Final = """function older(of) {
  if (Array.isArray(of)) return of.map(older);
  if (of === null || typeof of !== "object") return of;
  const out = {};
  for (const [name, value] of Object.entries(of)) out[name] = older(value);
  if (Array.isArray(out.anyOf) && out.anyOf.some((one) => one.type === "null")) {
    const rest = out.anyOf.filter((one) => one.type !== "null");
    delete out.anyOf;
    if (rest.length === 1) Object.assign(out, rest[0]); else out.anyOf = rest;
    out.nullable = true;
  }
  if ("const" in out) { out.enum = [out.const]; delete out.const; }
  for (const [word, bound] of [["exclusiveMinimum", "minimum"], ["exclusiveMaximum", "maximum"]])
    if (typeof out[word] === "number") { out[bound] = out[word]; out[word] = true; }
  return out;
}
fetch("/openapi.json").then((answer) => answer.json()).then((spec) => SwaggerUIBundle({
  spec: {...older(spec), openapi: "3.0.3"}, dom_id: "#swagger-ui", validatorUrl: null,
  deepLinking: true, presets: [SwaggerUIBundle.presets.apis], persistAuthorization: false}));
"""

router = APIRouter(include_in_schema=False)


def _folder() -> Path:
    import swagger_ui_bundle  # type: ignore[import-untyped]  # it ships no types

    # The package names its own folder by version; there is one.
    found = sorted(Path(swagger_ui_bundle.__file__).parent.glob("vendor/swagger-ui-*"))
    assert found, "swagger_ui_bundle holds no page"
    return found[-1]


@router.get("/docs")
async def page() -> Response:
    """The page."""
    return Response(PAGE, media_type="text/html", headers=_HEADERS)


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    """One of its files."""
    if name == "start.js":
        return Response(START, media_type="text/javascript", headers=_HEADERS)
    if name not in _FILES:
        raise ApiError("not_found", f"there is no {seen(name)} here")
    path = _folder() / name
    # A bundle's map would be asked for by a browser's tools and is not served: the line goes.
    data = path.read_bytes().replace(b"//# sourceMappingURL=", b"// ")
    return Response(data, media_type=_TYPES[path.suffix], headers=_HEADERS)
