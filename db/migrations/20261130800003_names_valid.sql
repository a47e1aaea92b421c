-- migrate:up
-- Every name there is reads as one; nobody waits while that is looked through.
set local role neurant_owner;

alter table public.companies validate constraint companies_name_reads_check;
alter table public.users validate constraint users_first_name_reads_check;
alter table public.users validate constraint users_last_name_reads_check;
alter table public.auth_accounts validate constraint auth_accounts_names_read_check;
alter table public.sign_ups validate constraint sign_ups_names_read_check;
alter table public.user_invitations validate constraint user_invitations_names_read_check;
alter table public.sso_connections validate constraint sso_connections_name_reads_check;
alter table public.chatbots validate constraint chatbots_name_reads_check;
alter table public.channel_accounts validate constraint channel_accounts_name_reads_check;
alter table public.api_keys validate constraint api_keys_name_reads_check;
alter table public.integrations validate constraint integrations_name_reads_check;
alter table public.documents validate constraint documents_names_read_check;

reset role;
-- migrate:down
