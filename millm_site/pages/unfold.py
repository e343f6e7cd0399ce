"""The settings of Unfold, which draws the admin: its name, styles, scripts, sidebar, dashboard and form of login."""

from django.templatetags.static import static

UNFOLD = {
    "SITE_TITLE": "miLLM",
    "SITE_HEADER": "miLLM",
    "SITE_SYMBOL": "tune",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("millm/favicon.svg")}],
    "SITE_URL": "/admin/",
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda request: static("millm/admin.css")],
    "SCRIPTS": [lambda request: static("millm/admin.js")],
    "SIDEBAR": {"navigation": "millm_site.pages.navigation.sidebar"},
    "DASHBOARD_CALLBACK": "millm_site.pages.dashboard.dashboard",
    "LOGIN": {"form": "millm_site.accounts.login.LoginForm"},
}
