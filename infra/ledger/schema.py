"""The ledger's tables as the code of today sees them; migrations bring a database here.

Times are seconds since the epoch. Arms, reports and an event's data are JSON documents: they are
read whole or not at all. `HEAD` names the newest migration, so that opening needs no Alembic.
"""

import sqlalchemy as sa

HEAD = "0010"

metadata = sa.MetaData()

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DOCUMENT = sa.JSON(none_as_null=True)


def _release(*, primary_key: bool = False, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(
        "release",
        sa.Text,
        sa.ForeignKey("releases.id"),
        primary_key=primary_key,
        nullable=nullable,
    )


identities = sa.Table(
    "identities",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("machine", sa.Boolean, nullable=False),
    # SHA-256 of the secret; the secret itself is kept nowhere.
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False, index=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    # The model while the release is open, else NULL: its uniqueness keeps one open a model.
    sa.Column("open_model", sa.Text, unique=True),
    sa.Column("requester", sa.Text, nullable=False),
    sa.Column("policy_text", sa.Text, nullable=False),
    sa.Column("suite", sa.Text, nullable=False),
    sa.Column("opened_at", sa.Double, nullable=False),
    sa.Column("stable", _DOCUMENT),
    sa.Column("stable_policy", sa.Text, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("chosen", _DOCUMENT),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("since", sa.Double),
    sa.Column("waiting_for", sa.Text, nullable=False),
    sa.Column("not_before", sa.Double, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("closed_at", sa.Double),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", _SERIAL, primary_key=True),
    _release(nullable=True),
    sa.Column("model", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Column("data", _DOCUMENT, nullable=False),
    # Key of an event that may be told only once; NULL for all others.
    sa.Column("once", sa.Text, unique=True),
    sa.Index("ix_events_release", "release"),
    sa.Index("ix_events_kind", "kind", "seq"),
    sqlite_autoincrement=True,
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("seq", _SERIAL, primary_key=True),
    _release(),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("granted", sa.Boolean, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("variant", sa.Text, nullable=False),
    sa.Column("report", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.UniqueConstraint(
        "release", "who", "variant", "report", "policy", name="uq_approvals_answer"
    ),
    sqlite_autoincrement=True,
)

reports = sa.Table(
    "reports",
    metadata,
    sa.Column("seq", _SERIAL, primary_key=True),
    _release(),
    sa.Column("variant", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("body", _DOCUMENT, nullable=False),
    sa.UniqueConstraint("release", "variant", name="uq_reports_variant"),
)

desired = sa.Table(
    "desired",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("owner_until", sa.Double, nullable=False),
    sa.Column("champion", _DOCUMENT),
    sa.Column("canary", _DOCUMENT),
    sa.Column("previous", _DOCUMENT),
    sa.Column("canary_percent", sa.Double, nullable=False),
    sa.Column("shadow_percent", sa.Double, nullable=False, server_default="0"),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("policy_text", sa.Text, nullable=False),
    sa.Column("changed_at", sa.Double, nullable=False),
)

gateways = sa.Table(
    "gateways",
    metadata,
    sa.Column("gateway", sa.Text, primary_key=True),
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("lapsed", sa.Boolean, nullable=False),
    sa.Column("tripped", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("agent", sa.Text, primary_key=True),
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ready", sa.Boolean, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    sa.Column("restarts", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

evidence = sa.Table(
    "evidence",
    metadata,
    _release(primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.BigInteger, nullable=False),
    sa.Column("slow", sa.BigInteger, nullable=False),
    sa.Column("rescued", sa.BigInteger, nullable=False),
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("gateway", sa.Text, primary_key=True),
    sa.Column("window", sa.BigInteger, nullable=False),
    sa.Column("segment", sa.BigInteger, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
)

anchors = sa.Table(
    "anchors",
    metadata,
    sa.Column("gateway", sa.Text, primary_key=True),
    sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("chain", sa.Text, nullable=False),
    sa.Column("segment", sa.BigInteger, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("signature", sa.Text, nullable=False),
)

# What was not said of a namespace is NULL, and goes by each host's settings.
namespaces = sa.Table(
    "namespaces",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("capture", sa.Text),
    sa.Column("sample", sa.Double),
    sa.Column("strict", sa.Boolean),
    sa.Column("when_full", sa.Text),
    sa.Column("days", sa.Integer),
    sa.Column("most_mb", sa.BigInteger),
)

# Names of hosts, each with the home that has it.
hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("home", sa.Text, nullable=False),
    sa.Column("heard_at", sa.Double, nullable=False),
)

# What namespaces say of releases; one that is not here says nothing.
releasing = sa.Table(
    "releasing",
    metadata,
    sa.Column("namespace", sa.Text, primary_key=True),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("roles", _DOCUMENT, nullable=False),
)

owned = sa.Table(
    "owned",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("namespace", sa.Text, nullable=False),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    # HMAC of the secret, under a pepper that is kept elsewhere.
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("scopes", _DOCUMENT, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("made_by", sa.Text, nullable=False),
    sa.Column("made_at", sa.Double, nullable=False),
    sa.Column("used_at", sa.Double, nullable=False),
    sa.Column("revoked_at", sa.Double, nullable=False),
)

# One row: how often keys, namespaces or what they own have changed, so that agents look cheaply.
caller_changes = sa.Table(
    "caller_changes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
)
