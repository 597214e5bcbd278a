"""Coming in, the team, and one's own account."""

from django.urls import path

from webapp.people import account, team

app_name = "people"
urlpatterns = [
    path("sign-in/<str:secret>/", account.sign_in, name="sign_in"),
    path("invitations/<str:secret>/", team.invitation, name="invitation"),
    path("invitations/<str:secret>/acceptance/", team.acceptance, name="acceptance"),
    path("team/", team.page, name="team"),
    path("team/name/", team.rename, name="rename"),
    path("team/invitations/", team.invite, name="invite"),
    path("team/invitations/<int:pk>/withdrawal/", team.withdraw, name="withdraw"),
    path("team/members/<int:pk>/role/", team.change_role, name="change_role"),
    path("team/members/<int:pk>/removal/", team.remove, name="remove"),
    path("teams/", team.found, name="found"),
    path("teams/choice/", team.choose, name="choose"),
    path("account/", account.page, name="account"),
    path("account/tokens/", account.make_token, name="make_token"),
    path("account/tokens/<uuid:pk>/revocation/", account.revoke, name="revoke"),
    path("account/sessions/end/", account.end_sessions, name="end_sessions"),
]
