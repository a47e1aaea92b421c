-- migrate:up
-- The checks on claims hold for what was there before, too.
alter table public.sso_domains validate constraint sso_domains_proven_by_check;
alter table public.sso_domains validate constraint sso_domains_last_check_check;
alter table public.sso_domains validate constraint sso_domains_proven_check;
-- migrate:down
