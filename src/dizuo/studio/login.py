"""The way in: a plain page of its own, so that a stranger gets neither a socket nor NiceGUI's scripts."""

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from dizuo.platform.catalogue import Language, translate
from dizuo.platform.identity import MIN_PASSWORD_LENGTH
from dizuo.studio.assets import asset
from dizuo.studio.guard import language_of, theme_of
from dizuo.studio.layout import HTML_LANGUAGE
from dizuo.wiring import House

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="{html_language}" data-theme="{theme}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title} · 底座 Dizuo</title>
<link rel="icon" href="{logo}" type="image/svg+xml">
<link rel="stylesheet" href="{css}">
<link rel="stylesheet" href="{pages_css}">
<script defer src="{script}"></script>
</head>
<body class="door">
<main>
<img src="{logo}" alt="" width="44" height="44">
<h1>{title}</h1>
<p class="muted">{lead}</p>
<form id="{form}" class="card stack" data-next="{next}" data-token="{token}" data-lost="{lost}" data-differ="{differ}">
{fields}
<div id="problem" class="notice bad" role="alert" hidden></div>
<button class="button primary" type="submit">{submit}</button>
</form>
{hint}
<button class="quiet small" type="button" id="language" data-language="{other}" lang="{other_tag}">{other_name}</button>
<noscript><p>{noscript}</p></noscript>
</main>
</body>
</html>
"""


def sign_in_page(house: House, request: Request) -> Response:
    """/login: name and password; with ?token=…, the password that a one-time link sets."""
    language = language_of(request, house)
    token = request.query_params.get("token", "")

    def t(text: str, **params: object) -> str:
        return escape(translate(text, language, **params))

    if token:
        title, lead, submit = (
            t("Choose a password"),
            t("The link works once. Next time you sign in with your name and this password."),
            t("Set the password and sign in"),
        )
        fields = _field("password", t("New password"), "new-password", least=MIN_PASSWORD_LENGTH)
        fields += _field("again", t("The same again"), "new-password", least=MIN_PASSWORD_LENGTH)
        hint = f'<p class="hint">{t("At least {n} characters.", n=MIN_PASSWORD_LENGTH)}</p>'
    else:
        title, lead, submit = t("Sign in"), t("Ask your own documents."), t("Sign in")
        fields = _field("name", t("Name"), "username") + _field("password", t("Password"), "current-password")
        hint = t("First time here, or password forgotten? On the server, {command} prints a link.", command="\0")
        hint = f'<p class="hint">{hint.replace(chr(0), "<code>dizuo user link owner</code>")}</p>'
    other: Language = "en" if language == "zh" else "zh"
    page = _PAGE.format(
        html_language=HTML_LANGUAGE[language],
        theme=theme_of(request),
        title=title,
        lead=lead,
        form="link" if token else "sign-in",
        next=escape(_own_path(request.query_params.get("next", "/"))),
        token=escape(token),
        lost=t("The server does not answer. Check that it runs, then try again."),
        differ=t("The two passwords differ."),
        fields=fields,
        submit=submit,
        hint=hint,
        other=other,
        other_tag=HTML_LANGUAGE[other],
        other_name="English" if other == "en" else "简体中文",
        noscript=t("This page needs JavaScript."),
        logo=asset("logo.svg"),
        css=asset("studio.css"),
        pages_css=asset("pages.css"),
        script=asset("login.js"),
    )
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return HTMLResponse(page, headers=headers)


def _field(name: str, label: str, autocomplete: str, least: int = 1) -> str:
    kind = "text" if name == "name" else "password"
    return (
        f'<div><label class="label" for="{name}">{label}</label><input class="field" id="{name}" name="{name}" '
        f'type="{kind}" autocomplete="{autocomplete}" required minlength="{least}" maxlength="1000"></div>'
    )


def _own_path(path: str) -> str:
    """Where to go afterwards: only a path of this server, so that a link cannot send people elsewhere."""
    safe = path.startswith("/") and not path.startswith(("//", "/\\", "/login")) and path.isprintable()
    return path if safe else "/"
