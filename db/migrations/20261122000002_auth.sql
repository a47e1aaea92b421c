-- migrate:up
-- Logins. Supabase brings its own auth.users; elsewhere this makes the part of it that we use.
set local role neurant_owner;

create table if not exists auth.users (
  id uuid primary key default uuidv7(),
  email text,
  encrypted_password text,
  email_confirmed_at timestamptz,
  last_sign_in_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
-- One person, one login: 'Ana@x.co' and 'ana@x.co' are the same mailbox.
create unique index if not exists auth_users_email_key on auth.users (lower(email));

grant select, insert on auth.users to neurant_router;
grant update (last_sign_in_at, encrypted_password, updated_at) on auth.users to neurant_router;

create or replace function private.claims() returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb
$$;
comment on function private.claims() is
  'What the process says of the caller in this transaction. Never trusted by itself: private.company_id() verifies it.';
grant execute on function private.claims()
  to neurant_router, neurant_worker, authenticated, visitor;

do $$
begin
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable set search_path = '' as
      'select (private.claims() ->> ''sub'')::uuid';
  end if;
end $$;

reset role;
-- migrate:down
