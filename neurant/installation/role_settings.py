"""The detection of foreign settings that PostgreSQL applies to each session of our roles.

PostgreSQL lets every role change its own settings (``alter role … set``, ``alter role … in database
… set``) and its own password, and no privilege can be revoked to prevent it. An attacker who runs
SQL as the web process could therefore leave a setting for later sessions, such as another
search_path. Such settings are detected instead: the embedded server resets them at each start,
other processes refuse to start, and ``neurant verify`` reports them. The operator may choose
timeouts freely.
"""

from __future__ import annotations

from typing import LiteralString

import psycopg
from psycopg import sql

# One row per foreign setting: role, database (null: all), name, whole setting.
STRANGE: LiteralString = """
select r.rolname::text, d.datname::text, split_part(c.setting, '=', 1), c.setting
from pg_catalog.pg_db_role_setting s
join pg_catalog.pg_roles r on r.oid = s.setrole
left join pg_catalog.pg_database d on d.oid = s.setdatabase
cross join lateral unnest(s.setconfig) c (setting)
where r.rolname in ('neurant_app', 'neurant_jobs', 'authenticated', 'visitor', 'anon',
    'neurant_worker', 'neurant_router', 'neurant_owner')
  and s.setdatabase in (0, (select oid from pg_catalog.pg_database
    where datname = pg_catalog.current_database()))
  and split_part(c.setting, '=', 1) not in ('statement_timeout', 'lock_timeout',
    'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')
  and (r.rolname::text, c.setting) <> ('neurant_jobs', 'search_path=jobs, public')
order by 1, 2, 4
"""


def strange_settings(connection: psycopg.Connection) -> list[str]:
    """Return the foreign settings as ``role: setting``. Any login may call it."""
    return [f"{row[0]}: {row[3]}" for row in connection.execute(STRANGE).fetchall()]


def reset_strange_settings(connection: psycopg.Connection) -> list[str]:
    """Reset the foreign settings as an administrator and return them."""
    rows = connection.execute(STRANGE).fetchall()
    for role, database, name, _ in rows:
        where = (
            sql.SQL(" in database {}").format(sql.Identifier(database)) if database else sql.SQL("")
        )
        statement = sql.SQL("alter role {}{} reset {}")
        # The name of an extension's setting has a dot, and each part is a separate identifier.
        connection.execute(
            statement.format(sql.Identifier(role), where, sql.Identifier(*name.split(".")))
        )
    return [f"{row[0]}: {row[3]}" for row in rows]
