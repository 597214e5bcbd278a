"""One's own account: coming in by link, tokens, sessions. Password and second factor are allauth's pages."""

from allauth.account.utils import perform_login
from allauth.mfa.utils import is_mfa_enabled
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.people.access import SignedIn
from webapp.people.forms import TokenForm
from webapp.people.models import ApiToken, SignInLink


@require_http_methods(["GET", "POST"])
@never_cache
def sign_in(request: HttpRequest, secret: str) -> HttpResponse:
    """Come in by a link. Who is somebody else here already is asked first: a link that was slipped to them changes nothing."""
    link = SignInLink.unused(secret)
    answer: HttpResponse
    if link and request.method == "GET" and request.user.is_authenticated and request.user != link.user:
        answer = render(request, "people/sign_in_instead.html", {"name": link.user.username})
        answer["Referrer-Policy"] = "same-origin"  # the form needs its origin checked; other sites learn nothing
        return answer
    if link and link.use():
        if request.user != link.user:
            logout(request)
        answer = perform_login(request, link.user, redirect_url="/")
    elif request.user.is_authenticated:
        answer = redirect("/")
    else:
        answer = render(request, "people/link_over.html", status=410)
    answer["Referrer-Policy"] = "no-referrer"
    return answer


@login_required
@require_GET
def page(request: SignedIn) -> HttpResponse:
    return account_page(request, TokenForm(request.user))


@login_required
@require_POST
@never_cache
def make_token(request: SignedIn) -> HttpResponse:
    form = TokenForm(request.user, request.POST)
    if not form.is_valid():
        return account_page(request, form, status=422)
    given = form.cleaned_data
    _token, secret = ApiToken.make(request.user, given["name"], form.scopes, given["days"], given["team"])
    return account_page(request, TokenForm(request.user), secret=secret)


@login_required
@require_POST
def revoke(request: SignedIn, pk: str) -> HttpResponse:
    token = get_object_or_404(ApiToken, pk=pk, user=request.user)
    token.delete()
    messages.success(request, _("The token “%(name)s” has been revoked.") % {"name": token.name})
    return redirect("people:account")


@login_required
@require_POST
def end_sessions(request: SignedIn) -> HttpResponse:
    for session in UserSession.objects.purge_and_list(request.user):
        if session.session_key != request.session.session_key:
            session.end()
    messages.success(request, _("You are signed out everywhere else."))
    return redirect("people:account")


def account_page(request: SignedIn, form: TokenForm, secret: str = "", status: int = 200) -> HttpResponse:
    context = {
        "form": form,
        "secret": secret,
        "tokens": ApiToken.objects.filter(user=request.user).select_related("team").order_by("-pk"),
        "sessions": UserSession.objects.purge_and_list(request.user),
        "has_second_factor": is_mfa_enabled(request.user),
    }
    return render(request, "people/account.html", context, status=status)
