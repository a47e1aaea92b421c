-- migrate:up
-- Every session in a company is part of a person's.
alter table public.login_sessions validate constraint login_sessions_auth_session_fkey;
-- migrate:down
