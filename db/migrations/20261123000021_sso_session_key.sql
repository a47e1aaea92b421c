-- migrate:up
-- The sessions' reference to their connection holds for what was there before, too.
alter table public.login_sessions validate constraint login_sessions_sso_connection_fkey;
-- migrate:down
