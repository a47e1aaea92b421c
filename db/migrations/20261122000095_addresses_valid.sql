-- migrate:up
-- The constraints that the last migration added, validated by themselves, as the migrating login: nobody waits for that.
alter table public.users validate constraint users_address_check;
alter table public.user_invitations validate constraint user_invitations_address_check;
alter table public.companies validate constraint companies_address_check;
-- migrate:down
