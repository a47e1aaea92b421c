-- migrate:up transaction:false
-- Whose sessions end with a connection.
create index concurrently login_sessions_sso_connection_idx
  on public.login_sessions (company_id, sso_connection_id) where sso_connection_id is not null;
-- migrate:down
