-- migrate:up
-- Who makes their login by an invitation takes the installation's terms, as who signs up.
set local role neurant_owner;

comment on table public.auth_accounts is
  'Who signed up by themselves, or by an invitation where the installation has terms: the names until they have a company, and when they took the terms, where the installation has any.';

create function private.accept_terms(p_auth_user uuid, p_first_name text, p_last_name text)
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.auth_accounts (auth_user_id, first_name, last_name, terms_accepted_at)
  values (p_auth_user, p_first_name, p_last_name, now())
$$;
comment on function private.accept_terms(uuid, text, text) is
  'The person of a login that was made in this transaction, by an invitation, took the terms. Definer, as create_login.';
grant execute on function private.accept_terms(uuid, text, text) to neurant_app;
alter function private.accept_terms(uuid, text, text) owner to neurant_router;

reset role;
-- migrate:down
