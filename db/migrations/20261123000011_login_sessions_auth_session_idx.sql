-- migrate:up transaction:false
-- Ending a session finds the part of it that is a company's.
create index concurrently login_sessions_auth_session_idx on public.login_sessions (auth_session_id);
-- migrate:down
