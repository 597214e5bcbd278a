"""Who am I."""

from django.http import HttpRequest
from ninja import Router, Schema

router = Router()


class TeamOut(Schema):
    id: str
    name: str
    role: str


class MeOut(Schema):
    username: str
    teams: list[TeamOut]


@router.get("/me", response=MeOut, summary="Who am I")
def me(request: HttpRequest) -> dict[str, object]:
    actor = request.actor  # type: ignore[attr-defined]
    teams = actor.user.teams.filter(pk__in=actor.team_ids).order_by("memberships__created_at")
    return {
        "username": actor.user.username,
        "teams": [{"id": str(team.pk), "name": team.name, "role": actor.roles[team.pk]} for team in teams],
    }
