"""The page at `/` of the servers: what runs here and where to go."""

import html
from string import Template

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from server.health import VERSION
from server.house import house_of

router = APIRouter(include_in_schema=False)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LINKS = {  # by part: address, name, what it is
    "demo": (("/demo", "Live demo", "Speak, and a face speaks with you, with sound."),),
    "rest": (
        ("/openapi.json", "REST API", "A portrait and a voice in, a video out. The whole description."),
        ("/avatars", "Your avatars", "Portraits that you have prepared, as JSON."),
    ),
}
_ALWAYS = (
    ("/health", "State", "Engine, queue and live sessions, as JSON."),
    ("/metrics", "Figures", "For Prometheus: first frames, speed, sessions, errors."),
)
_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Visavis</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --paper: #f6f3ef; --card: #fff; --ink: #2a2420; --soft: #756a62;
        --accent: #c2410c; --line: #e7e0d9 }
@media (prefers-color-scheme: dark) { :root { --paper: #161311; --card: #211d1a; --ink: #f3ece6;
        --soft: #a99d94; --accent: #fb923c; --line: #332d29 } }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper);
       color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", "Noto Sans", sans-serif }
main { width: min(44rem, 100% - 3rem); padding: 3rem 0 }
h1 { margin: 0; font-size: clamp(2.2rem, 6vw, 3.2rem); letter-spacing: -.03em; line-height: 1.1 }
h1 + p { margin: .6rem 0 2rem; font-size: 1.15rem; color: var(--soft) }
nav { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)) }
a { display: block; padding: 1.1rem 1.3rem; border: 1px solid var(--line); border-radius: 1rem;
    background: var(--card); color: inherit; text-decoration: none;
    transition: border-color .15s, translate .15s }
a:hover, a:focus-visible { border-color: var(--accent); translate: 0 -2px; outline: none }
a b { color: var(--accent) }
a span { display: block; margin-top: .2rem; color: var(--soft); font-size: .95rem }
footer { margin-top: 2rem; color: var(--soft); font-size: .9rem }
</style></head><body><main>
<h1>Visavis</h1><p>A portrait and a voice go in, a talking head comes out.</p>
<nav>$links</nav>
<footer>Version $version, engine $engine: $reason<br>What is made here is AI-generated: say so where you
show it, and use faces and voices only with the consent of their people.</footer>
</main></body></html>
""")


@router.get("/")
async def landing(request: Request) -> HTMLResponse:
    """A page with links; nothing on it comes from elsewhere."""
    parts: tuple[str, ...] = request.app.state.parts
    links = [link for part, its in _LINKS.items() if part in parts for link in its]
    cards = [
        f'<a href="{path}"><b>{name}</b><span>{what}</span></a>' for path, name, what in (*links, *_ALWAYS)
    ]
    running = house_of(request).studio.running
    page = _PAGE.substitute(
        links="".join(cards),
        version=VERSION,
        engine=html.escape(running.engine.name),
        reason=html.escape(running.reason),
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})
