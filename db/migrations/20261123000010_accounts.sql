-- migrate:up
-- What belongs to a login and to no company: its sessions, sign-up, second step, resets, and brakes on guessing.
set local role neurant_owner;

create table public.auth_accounts (
  auth_user_id uuid primary key references auth.users (id) on delete cascade,
  first_name varchar(100) not null,
  last_name varchar(100) not null,
  terms_accepted_at timestamptz,
  created_at timestamptz not null default now()
);
comment on table public.auth_accounts is
  'Who signed up by themselves: the names until they have a company, and when they took the terms, where the installation has any.';

create table public.auth_sessions (
  id uuid primary key default uuidv7(),
  auth_user_id uuid not null references auth.users (id) on delete cascade,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  ip_address inet,
  user_agent text,
  only_company_id uuid references public.companies (id) on delete cascade,
  created_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  expires_at timestamptz not null
);
comment on table public.auth_sessions is
  'A person who is signed in, in a company or (still) in none. login_sessions is the part of it that is a company''s, under the same token.';
comment on column public.auth_sessions.only_company_id is
  'The company whose own proof (single sign-on) opened it: it leads into no other. Null: the person''s own password did.';
create index auth_sessions_only_company_idx on public.auth_sessions (only_company_id)
  where only_company_id is not null;
create index auth_sessions_user_idx on public.auth_sessions (auth_user_id);
create index auth_sessions_ended_idx on public.auth_sessions (expires_at);

alter table public.login_sessions add column auth_session_id uuid;
alter table public.login_sessions add constraint login_sessions_auth_session_fkey
  foreign key (auth_session_id) references public.auth_sessions (id) on delete cascade not valid;
comment on column public.login_sessions.auth_session_id is
  'What this is a part of; given by a trigger where whoever opens the session says nothing.';
select private.audit_column('public.login_sessions', 'auth_session_id', 'left_out');

create table public.sign_ups (
  id uuid primary key default uuidv7(),
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  first_name varchar(100) not null,
  last_name varchar(100) not null,
  encrypted_password text not null,
  pending_digest bytea not null unique check (octet_length(pending_digest) = 32),
  link_digest bytea unique check (octet_length(link_digest) = 32),
  link_expires_at timestamptz not null,
  code_digest bytea check (octet_length(code_digest) = 32),
  code_expires_at timestamptz not null,
  code_attempts smallint not null default 0,
  terms_accepted_at timestamptz,
  created_at timestamptz not null,
  auth_user_id uuid references auth.users (id) on delete cascade,
  verified_at timestamptz,
  claimed_at timestamptz,
  check ((verified_at is null) = (auth_user_id is null))
);
comment on table public.sign_ups is
  'A sign-up until its mailbox is proven; the login is made only then, so an address is nobody''s before. Without link and code: the address has an account, and this row only answers as any other.';
comment on column public.sign_ups.pending_digest is
  'SHA-256 of what the browser that signed up holds; with it a code is enough.';
comment on column public.sign_ups.code_digest is
  'Six digits can be tried out by whoever reads the table, so this is keyed by the master key.';
create index sign_ups_email_idx on public.sign_ups (email);
create index sign_ups_user_idx on public.sign_ups (auth_user_id) where auth_user_id is not null;
create index sign_ups_created_idx on public.sign_ups (created_at);

create table public.password_resets (
  token_digest bytea primary key check (octet_length(token_digest) = 32),
  auth_user_id uuid not null references auth.users (id) on delete cascade,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz
);
comment on table public.password_resets is
  'Mailed links that set a new password, once. A used one is kept for a while, to tell so.';
create index password_resets_user_idx on public.password_resets (auth_user_id);
create index password_resets_expired_idx on public.password_resets (expires_at);

create table public.auth_factors (
  auth_user_id uuid primary key references auth.users (id) on delete cascade,
  secret_encrypted bytea not null,
  last_step bigint not null default 0,
  created_at timestamptz not null default now(),
  confirmed_at timestamptz
);
comment on table public.auth_factors is
  'The shared secret of the second step (RFC 6238), sealed under the master key; it counts once a code confirmed it.';
comment on column public.auth_factors.last_step is
  'The time step of the code used last: none of it or before is taken again.';

create table public.recovery_codes (
  auth_user_id uuid not null references public.auth_factors (auth_user_id) on delete cascade,
  code_digest bytea not null check (octet_length(code_digest) = 32),
  used_at timestamptz,
  primary key (auth_user_id, code_digest)
);

create table public.login_challenges (
  token_digest bytea primary key check (octet_length(token_digest) = 32),
  auth_user_id uuid not null references auth.users (id) on delete cascade,
  is_kept boolean not null,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
comment on table public.login_challenges is
  'The password was right; the code is awaited.';
create index login_challenges_user_idx on public.login_challenges (auth_user_id);
create index login_challenges_expired_idx on public.login_challenges (expires_at);

create table public.account_brakes (
  key_digest bytea primary key check (octet_length(key_digest) = 32),
  attempts integer not null default 0 check (attempts >= 0),
  locked_until timestamptz,
  mailed_at timestamptz[] not null default '{}',
  touched_at timestamptz not null
);
comment on table public.account_brakes is
  'What slows guessing and mailing down, for all processes together: by login, by login and address, by address; digests only.';
create index account_brakes_touched_idx on public.account_brakes (touched_at);

create function private.belong_to_auth_session() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.auth_sessions
    (auth_user_id, token_digest, ip_address, user_agent, only_company_id, expires_at)
  select u.auth_user_id, new.token_digest, new.ip_address, new.user_agent, new.company_id,
    new.expires_at
  from public.users u
  where u.company_id = new.company_id and u.id = new.user_id and u.auth_user_id is not null
  on conflict (token_digest) do nothing
  returning id into new.auth_session_id;
  return new;
end $$;
comment on function private.belong_to_auth_session() is
  'A session that is opened for a company alone is still the person''s, who sees and ends it, and stays in that company. Definer: sessions are nobody''s to write by hand.';
create trigger belong_to_auth_session before insert on public.login_sessions
  for each row when (new.auth_session_id is null)
  execute function private.belong_to_auth_session();

alter table public.auth_accounts enable row level security, force row level security;
alter table public.auth_sessions enable row level security, force row level security;
alter table public.sign_ups enable row level security, force row level security;
alter table public.password_resets enable row level security, force row level security;
alter table public.auth_factors enable row level security, force row level security;
alter table public.recovery_codes enable row level security, force row level security;
alter table public.login_challenges enable row level security, force row level security;
alter table public.account_brakes enable row level security, force row level security;

create policy router_select on public.auth_accounts for select to neurant_router using (true);
create policy router_insert on public.auth_accounts for insert to neurant_router with check (true);
create policy router_select on public.auth_sessions for select to neurant_router using (true);
create policy router_insert on public.auth_sessions for insert to neurant_router with check (true);
create policy router_update on public.auth_sessions for update to neurant_router using (true) with check (true);
create policy router_delete on public.auth_sessions for delete to neurant_router using (true);
create policy router_select on public.sign_ups for select to neurant_router using (true);
create policy router_insert on public.sign_ups for insert to neurant_router with check (true);
create policy router_update on public.sign_ups for update to neurant_router using (true) with check (true);
create policy router_delete on public.sign_ups for delete to neurant_router using (true);
create policy router_select on public.password_resets for select to neurant_router using (true);
create policy router_insert on public.password_resets for insert to neurant_router with check (true);
create policy router_update on public.password_resets for update to neurant_router using (true) with check (true);
create policy router_delete on public.password_resets for delete to neurant_router using (true);
create policy router_select on public.auth_factors for select to neurant_router using (true);
create policy router_insert on public.auth_factors for insert to neurant_router with check (true);
create policy router_update on public.auth_factors for update to neurant_router using (true) with check (true);
create policy router_delete on public.auth_factors for delete to neurant_router using (true);
create policy router_select on public.recovery_codes for select to neurant_router using (true);
create policy router_insert on public.recovery_codes for insert to neurant_router with check (true);
create policy router_update on public.recovery_codes for update to neurant_router using (true) with check (true);
create policy router_delete on public.recovery_codes for delete to neurant_router using (true);
create policy router_select on public.login_challenges for select to neurant_router using (true);
create policy router_insert on public.login_challenges for insert to neurant_router with check (true);
create policy router_delete on public.login_challenges for delete to neurant_router using (true);
create policy router_select on public.account_brakes for select to neurant_router using (true);
create policy router_insert on public.account_brakes for insert to neurant_router with check (true);
create policy router_update on public.account_brakes for update to neurant_router using (true) with check (true);
create policy router_delete on public.account_brakes for delete to neurant_router using (true);

grant select, insert on public.auth_accounts to neurant_router;
grant select, insert, delete on public.auth_sessions, public.sign_ups, public.password_resets,
  public.auth_factors, public.recovery_codes, public.login_challenges, public.account_brakes
  to neurant_router;
grant update (token_digest, last_seen_at) on public.auth_sessions to neurant_router;
grant update (token_digest) on public.login_sessions to neurant_router;
grant update (link_digest, link_expires_at, code_digest, code_expires_at, code_attempts,
  auth_user_id, verified_at, claimed_at) on public.sign_ups to neurant_router;
grant update (used_at) on public.password_resets, public.recovery_codes to neurant_router;
grant update (secret_encrypted, last_step, created_at, confirmed_at) on public.auth_factors to neurant_router;
grant update (attempts, locked_until, mailed_at, touched_at) on public.account_brakes to neurant_router;
alter function private.belong_to_auth_session() owner to neurant_router;

reset role;

insert into public.auth_sessions
  (auth_user_id, token_digest, ip_address, user_agent, created_at, last_seen_at, expires_at)
select u.auth_user_id, s.token_digest, s.ip_address, s.user_agent, s.created_at, s.last_seen_at,
  s.expires_at
from public.login_sessions s
join public.users u on u.company_id = s.company_id and u.id = s.user_id
where u.auth_user_id is not null;
update public.login_sessions s set auth_session_id = a.id
from public.auth_sessions a
where a.token_digest = s.token_digest;

-- migrate:down
