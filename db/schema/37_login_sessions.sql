-- Login sessions: the part of a session that belongs to one company.

create table public.login_sessions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  user_id uuid not null,
  auth_session_id uuid,
  sso_connection_id uuid,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  ip_address inet,
  user_agent text,
  created_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ends_at timestamptz,
  idle_after interval,
  primary key (company_id, id),
  foreign key (company_id, user_id) references public.users (company_id, id),
  constraint login_sessions_auth_session_fkey
    foreign key (auth_session_id) references public.auth_sessions (id) on delete cascade,
  constraint login_sessions_sso_connection_fkey
    foreign key (company_id, sso_connection_id)
    references public.sso_connections (company_id, id) on delete cascade
);
comment on column public.login_sessions.auth_session_id is
  'The person''s session that this is a part of; a trigger sets it if the insert does not.';
comment on column public.login_sessions.sso_connection_id is
  'The connection that opened this session. The session ends with the connection and is valid for this company only, because a provider speaks for no other company.';
comment on column public.login_sessions.expires_at is 'As in auth_sessions: it moves with use.';
create index login_sessions_user_idx on public.login_sessions (company_id, user_id);
-- Finds the parts in companies when a session ends.
create index login_sessions_auth_session_idx on public.login_sessions (auth_session_id);
-- Finds the sessions that end with a connection.
create index login_sessions_sso_connection_idx
  on public.login_sessions (company_id, sso_connection_id) where sso_connection_id is not null;

alter table public.login_sessions enable row level security, force row level security;
create policy router_select on public.login_sessions for select to neurant_router using (true);
create policy router_insert on public.login_sessions for insert to neurant_router with check (true);
create policy router_update on public.login_sessions for update to neurant_router using (true) with check (true);
create policy router_delete on public.login_sessions for delete to neurant_router using (true);
grant select, insert, delete on public.login_sessions to neurant_router;
grant update (token_digest, last_seen_at) on public.login_sessions to neurant_router;

select private.audit_table('public.login_sessions', 'user_id',
  '{user_id,expires_at,sso_connection_id}',
  '{ip_address,user_agent}',
  '{token_digest}',
  '{created_at,last_seen_at,auth_session_id,ends_at,idle_after}');

create trigger end_auth_session after delete on public.login_sessions
  for each row when (old.sso_connection_id is not null)
  execute function private.end_auth_session();

-- Its name makes it run after belong_to_auth_session.
create trigger idle_with_auth_session before insert on public.login_sessions
  for each row execute function private.begin_idling();

create trigger slide_session before update of last_seen_at on public.login_sessions
  for each row execute function private.slide_session();

create trigger share_use after update of last_seen_at on public.login_sessions
  for each row execute function private.share_use();

create function private.open_login_session(
  p_auth_user uuid, p_token_digest bytea, p_ip inet, p_user_agent text, p_lifetime interval)
returns table (company_id uuid, user_id uuid, expires_at timestamptz)
language plpgsql security definer set search_path = '' as $$
declare
  v_user public.users;
begin
  select u.* into v_user
  from public.users u
  join public.companies c on c.id = u.company_id and c.subscription_status <> 'cancelled'
  where u.auth_user_id = p_auth_user and u.is_active
  order by u.last_seen_at desc nulls last, u.created_at
  limit 1;
  if v_user.id is null then
    return;
  end if;
  update public.users u set last_login_at = now(), last_seen_at = now()
  where u.company_id = v_user.company_id and u.id = v_user.id;
  return query
  insert into public.login_sessions as s
    (company_id, user_id, token_digest, ip_address, user_agent, expires_at)
  values (v_user.company_id, v_user.id, p_token_digest, p_ip, p_user_agent, now() + p_lifetime)
  returning s.company_id, s.user_id, s.expires_at;
end $$;
comment on function private.open_login_session(uuid, bytea, inet, text, interval) is
  'Opens a session in the company that the person worked in last; no row if the person has no active user. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.open_login_session(uuid, bytea, inet, text, interval) to
  neurant_app;

create function private.login_session(p_token_digest bytea)
returns table (
  session_id uuid, auth_user_id uuid, company_id uuid, user_id uuid,
  role public.user_role_enum, first_name text, last_name text, email text, company_name text)
language plpgsql security definer set search_path = '' as $$
begin
  -- Often enough to show who is there, seldom enough not to write on every request.
  update public.login_sessions s set last_seen_at = now()
  where s.token_digest = p_token_digest and s.last_seen_at < now() - interval '1 minute';
  return query
  select s.id, u.auth_user_id, u.company_id, u.id, u.role, u.first_name::text, u.last_name::text,
    u.email::text, c.name::text
  from public.login_sessions s
  join public.users u on u.company_id = s.company_id and u.id = s.user_id
  join public.companies c on c.id = s.company_id
  where s.token_digest = p_token_digest and s.expires_at > now() and u.is_active;
end $$;
comment on function private.login_session(bytea) is
  'Returns the person of a session, if the session and its user are valid; a closed company may be read. Security definer, called by the web process, because the caller is not a principal yet.';
grant execute on function private.login_session(bytea) to neurant_app;

create function private.close_login_session(p_token_digest bytea) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.login_sessions s where s.token_digest = p_token_digest;
  delete from public.auth_sessions a where a.token_digest = p_token_digest
$$;
comment on function private.close_login_session(bytea) is
  'Ends a session (logout). Security definer, called by the web process, because the caller is not a principal yet.';
grant execute on function private.close_login_session(bytea) to neurant_app;

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
  'Makes a session that is opened for a company alone a part of a session of the person, who can list and end it; that session stays limited to the company. Security definer, called by a trigger, because no role may write sessions directly.';

create trigger belong_to_auth_session before insert on public.login_sessions
  for each row when (new.auth_session_id is null)
  execute function private.belong_to_auth_session();
