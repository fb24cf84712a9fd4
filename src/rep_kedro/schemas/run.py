"""Tables of the run itself."""

from rep_kedro.schemas.columns import integer, number, text
from rep_kedro.schemas.table import Table

_MEMBER = (text("collection", "name of the collection"), text("key", "key of the member"))

RUN_TABLE = Table(
    "run_table",
    "One row for each member of a collection: what it depends on and what it took.",
    key=("collection", "key"),
    columns=(
        *_MEMBER,
        integer("seed", "seed that its recipe names", missing="none is named"),
        number("seconds", "time to compute it, s", low=0, missing="not computed on this machine"),
        text("computed_at", "when it was computed, ISO 8601", missing="not computed on this machine"),
        text("versions", "versions of the packages that computed it", missing="not computed on this machine"),
        text(
            "platform",
            "platform, of networks and features",
            missing="its bytes do not depend on the platform",
        ),
        text("recipe_digest", "digest of its recipe"),
    ),
)

MISSING_MEMBERS = Table(
    "missing_members",
    "One row for each member that `--keep-going` left out, or made without some of its inputs.",
    key=("collection", "key"),
    columns=(*_MEMBER, text("reason", "why")),
    empty_when="nothing is missing",
)

TABLES = (RUN_TABLE, MISSING_MEMBERS)
