-- Single sign-on: the connections of a company to its identity provider.

create table public.sso_connections (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  name varchar(100) not null check (btrim(name) <> ''),
  issuer varchar(500) not null check (issuer ~ '^https?://'),
  client_id varchar(255) not null check (btrim(client_id) <> ''),
  client_secret_encrypted bytea,
  default_role public.user_role_enum check (default_role in ('supervisor', 'operador')),
  is_enforced boolean not null default false,
  is_active boolean not null default true,
  created_by uuid not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, issuer, client_id),
  foreign key (company_id, created_by) references public.users (company_id, id),
  constraint sso_connections_name_reads_check
    check (private.reads_as_name(name))
);
comment on table public.sso_connections is
  'An OpenID provider that authenticates people for one company, and for no other.';
comment on column public.sso_connections.issuer is
  'Never changed: under another issuer the same subjects would be other people.';
comment on column public.sso_connections.client_secret_encrypted is
  'Sealed under the company''s key. Null: a public client, which PKCE alone protects.';
comment on column public.sso_connections.default_role is
  'The role of a person who arrives without an invitation. Null: only invited people are admitted.';
comment on column public.sso_connections.is_enforced is
  'Whether people with an address in the connection''s domains must sign in this way. The owner may always use the password, so that a broken provider cannot lock everybody out.';
create index sso_connections_created_by_idx on public.sso_connections (company_id, created_by);

alter table public.sso_connections enable row level security, force row level security;
create policy staff_select on public.sso_connections for select to authenticated
  using (company_id = (select private.company_id('sso.read')));
create policy staff_insert on public.sso_connections for insert to authenticated
  with check (company_id = (select private.company_id('sso.manage'))
    and created_by = (select private.user_id()));
create policy staff_update on public.sso_connections for update to authenticated
  using (company_id = (select private.company_id('sso.manage')))
  with check (company_id = (select private.company_id('sso.manage')));
create policy staff_delete on public.sso_connections for delete to authenticated
  using (company_id = (select private.company_id('sso.manage')));
create policy router_select on public.sso_connections for select to neurant_router using (true);
create policy router_update on public.sso_connections for update to neurant_router
  using (true) with check (true);
grant delete on public.sso_connections to authenticated;
grant select (company_id, id, name, issuer, client_id, default_role, is_enforced, is_active,
  created_by, created_at, updated_at) on public.sso_connections to authenticated;
grant insert (company_id, id, name, issuer, client_id, client_secret_encrypted, default_role,
  is_enforced, is_active, created_by) on public.sso_connections to authenticated;
grant update (name, client_id, client_secret_encrypted, default_role, is_enforced, is_active) on
  public.sso_connections to authenticated;
grant select on public.sso_connections to neurant_router;
grant update (updated_at) on public.sso_connections to neurant_router;

select private.audit_table('public.sso_connections', 'id',
  '{default_role,is_enforced,is_active,created_by}',
  '{name,issuer,client_id}',
  '{client_secret_encrypted}',
  '{created_at,updated_at}');

create trigger set_updated_at before update on public.sso_connections
  for each row execute function private.update_updated_at_column();

create table public.external_identities (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  connection_id uuid not null,
  subject varchar(255) not null check (subject <> ''),
  user_id uuid not null,
  created_at timestamptz not null default now(),
  last_login_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, connection_id, subject),
  unique (company_id, connection_id, user_id),
  foreign key (company_id, connection_id)
    references public.sso_connections (company_id, id) on delete cascade,
  foreign key (company_id, user_id) references public.users (company_id, id)
);
comment on table public.external_identities is
  'The identity of a user at a provider. From the second sign-in on the subject decides, not the e-mail address.';
create index external_identities_user_idx on public.external_identities (company_id, user_id);

alter table public.external_identities enable row level security, force row level security;
create policy staff_select on public.external_identities for select to authenticated
  using (company_id = (select private.company_id('sso.read')));
create policy staff_delete on public.external_identities for delete to authenticated
  using (company_id = (select private.company_id('sso.manage')));
create policy router_select on public.external_identities for select to neurant_router using (true);
create policy router_insert on public.external_identities for insert to neurant_router
  with check (true);
create policy router_update on public.external_identities for update to neurant_router
  using (true) with check (true);
grant select, delete on public.external_identities to authenticated;
grant select, insert on public.external_identities to neurant_router;
grant update (last_login_at) on public.external_identities to neurant_router;

select private.audit_table('public.external_identities', 'user_id',
  '{connection_id,user_id}',
  '{subject}',
  '{}',
  '{created_at,last_login_at}');

create table public.sso_attempts (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  connection_id uuid not null,
  state_digest bytea not null unique check (octet_length(state_digest) = 32),
  browser_digest bytea not null check (octet_length(browser_digest) = 32),
  next_path varchar(2000) not null,
  is_kept boolean not null,
  expires_at timestamptz not null,
  claimed_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, connection_id)
    references public.sso_connections (company_id, id) on delete cascade
);
comment on table public.sso_attempts is
  'Sign-ins that are at the provider now. Nonce and PKCE verifier are derived from a secret in the browser, of which only the digest is stored, so nothing in this table admits anybody.';
create index sso_attempts_connection_idx
  on public.sso_attempts (company_id, connection_id, expires_at);

alter table public.sso_attempts enable row level security, force row level security;
create policy router_select on public.sso_attempts for select to neurant_router using (true);
create policy router_insert on public.sso_attempts for insert to neurant_router with check (true);
create policy router_update on public.sso_attempts for update to neurant_router
  using (true) with check (true);
create policy router_delete on public.sso_attempts for delete to neurant_router using (true);
grant select, insert, delete on public.sso_attempts to neurant_router;
grant update (claimed_at) on public.sso_attempts to neurant_router;

create function private.sso_required(p_company uuid, p_user uuid) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select c.id
  from public.users u
  join public.sso_domains d
    on d.company_id = u.company_id and d.domain = split_part(u.email, '@', 2)
    and d.proven_at is not null
  join public.sso_connections c on c.company_id = d.company_id and c.id = d.connection_id
  where u.company_id = p_company and u.id = p_user and not u.is_owner
    and c.is_active and c.is_enforced
$$;
comment on function private.sso_required(uuid, uuid) is
  'Returns the connection that this user must sign in by, because the user''s domain is proven and the connection enforced; null if a password suffices. Security definer, called by other definers only, because it is called before anybody is signed in.';

create function private.begin_sso(
  p_domain text, p_state_digest bytea, p_browser_digest bytea, p_next text, p_is_kept boolean,
  p_now timestamptz default now())
returns table (company_id uuid, connection_id uuid, name text, issuer text, client_id text)
language plpgsql security definer set search_path = '' as $$
declare
  v_connection public.sso_connections;
begin
  select c.* into v_connection
  from public.sso_domains d
  join public.sso_connections c on c.company_id = d.company_id and c.id = d.connection_id
  where d.domain = p_domain and d.proven_at is not null and c.is_active;
  if v_connection.id is null then
    return;
  end if;
  -- One after another within a connection, so that the number is exact over all processes.
  perform pg_advisory_xact_lock(hashtextextended('sso attempts ' || v_connection.id, 0));
  delete from public.sso_attempts a
  where a.company_id = v_connection.company_id and a.connection_id = v_connection.id
    and (a.expires_at < p_now - interval '1 hour'
      -- Strangers from many addresses push the oldest attempt out; they close the door to nobody.
      or a.id in (
        select o.id from public.sso_attempts o
        where o.company_id = v_connection.company_id and o.connection_id = v_connection.id
        order by o.expires_at desc, o.id desc offset 999));
  insert into public.sso_attempts
    (company_id, connection_id, state_digest, browser_digest, next_path, is_kept, expires_at)
  values (v_connection.company_id, v_connection.id, p_state_digest, p_browser_digest, p_next,
    p_is_kept, p_now + interval '10 minutes');
  return query select v_connection.company_id, v_connection.id, v_connection.name::text,
    v_connection.issuer::text, v_connection.client_id::text;
end $$;
comment on function private.begin_sso(text, bytea, bytea, text, boolean, timestamptz) is
  'Begins a sign-in at the provider of this domain, to be completed within ten minutes; no row if the domain has none. A connection keeps its newest 1000 attempts. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.begin_sso(text, bytea, bytea, text, boolean, timestamptz) to
  neurant_app;

create function private.sso_of_domain(p_domain text) RETURNS TABLE(name text, is_enforced boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select c.name::text, c.is_enforced
  from public.sso_domains d
  join public.sso_connections c on c.company_id = d.company_id and c.id = d.connection_id
  where d.domain = p_domain and d.proven_at is not null and c.is_active
$$;
comment on function private.sso_of_domain(text) is
  'Returns the name of the provider of a proven domain, for the button on the login page. A claim that is not proven returns nothing, so that people are never sent to a stranger''s provider. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.sso_of_domain(text) to neurant_app;

create function private.claim_sso(
  p_state_digest bytea, p_browser_digest bytea, p_now timestamptz default now())
returns table (
  outcome text, attempt_id uuid, company_id uuid, connection_id uuid, name text, issuer text,
  client_id text, client_secret_encrypted bytea, wrapped_key bytea, next_path text, is_kept boolean)
language plpgsql security definer set search_path = '' as $$
declare
  v_attempt public.sso_attempts;
  v_outcome text;
begin
  select a.* into v_attempt from public.sso_attempts a
  where a.state_digest = p_state_digest for update;
  v_outcome := case
    when v_attempt.id is null then 'unknown'
    when v_attempt.browser_digest is distinct from p_browser_digest then 'other_browser'
    when v_attempt.claimed_at is not null then 'used'
    when v_attempt.expires_at <= p_now then 'expired'
    else 'claimed' end;
  if v_outcome = 'claimed' then
    update public.sso_attempts a set claimed_at = p_now
    where a.company_id = v_attempt.company_id and a.id = v_attempt.id;
    return query
    select v_outcome, v_attempt.id, c.company_id, c.id, c.name::text, c.issuer::text,
      c.client_id::text, c.client_secret_encrypted, k.wrapped_key, v_attempt.next_path::text,
      v_attempt.is_kept
    from public.sso_connections c
    left join public.company_keys k on k.company_id = c.company_id
    where c.company_id = v_attempt.company_id and c.id = v_attempt.connection_id and c.is_active;
    if found then
      return;
    end if;
    v_outcome := 'closed';
  end if;
  return query select v_outcome, null::uuid, null::uuid, null::uuid, null::text, null::text,
    null::text, null::bytea, null::bytea, null::text, null::boolean;
end $$;
comment on function private.claim_sso(bytea, bytea, timestamptz) is
  'Takes up an attempt, once, in the browser that began it. Outcome: claimed (with the data for the token exchange; secrets still sealed), unknown, other_browser, used, expired or closed. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.claim_sso(bytea, bytea, timestamptz) to neurant_app;

create function private.open_sso_session(
  p_company uuid, p_user uuid, p_connection uuid, p_token_digest bytea, p_ip inet,
  p_user_agent text, p_lifetime interval)
returns timestamptz
language plpgsql security definer set search_path = '' as $$
declare
  v_expires timestamptz := now() + p_lifetime;
begin
  update public.users u set last_login_at = now(), last_seen_at = now()
  where u.company_id = p_company and u.id = p_user;
  insert into public.login_sessions
    (company_id, user_id, token_digest, ip_address, user_agent, expires_at, sso_connection_id)
  values (p_company, p_user, p_token_digest, p_ip, p_user_agent, v_expires, p_connection);
  return v_expires;
end $$;
comment on function private.open_sso_session(uuid, uuid, uuid, bytea, inet, text, interval) is
  'Opens the session of the person whom the provider has named. Only finish_sso calls it. Security definer, called by other definers only, because no role may write sessions directly.';

create function private.admit_by_sso(
  p_connection public.sso_connections, p_email text, p_first_name text, p_last_name text, p_now
  timestamptz)
returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := p_connection.company_id;
  v_invitation bytea;
  v_login uuid;
  v_user uuid;
begin
  select i.token_digest into v_invitation from public.user_invitations i
  where i.company_id = v_company and i.email = p_email and i.status = 'pending'
    and i.expires_at > p_now;
  if v_invitation is null and p_connection.default_role is null then
    return null;
  end if;
  -- Not confirmed by this: a provider vouches for an address to its own company only.
  v_login := private.create_login(p_email, null);
  if v_login is null then
    v_login := (select a.id from auth.users a where lower(a.email) = p_email);
  end if;
  if v_invitation is not null then
    select a.user_id into v_user from private.accept_invitation(
      v_invitation, v_login, p_first_name, p_last_name, p_now) a;
    return v_user;
  end if;
  perform set_config('request.actor', v_login::text, true);
  insert into public.users (company_id, auth_user_id, email, first_name, last_name, role)
  values (v_company, v_login, p_email, coalesce(p_first_name, split_part(p_email, '@', 1)),
    coalesce(p_last_name, ''), p_connection.default_role)
  returning id into v_user;
  return v_user;
end $$;
comment on function private.admit_by_sso(public.sso_connections, text, text, text, timestamptz) is
  'Creates the user of a person who is new to the company: by the person''s invitation, or else with the connection''s default role (NA002 if no seat is left). Returns null if there is neither. Only finish_sso calls it. Security definer, called by other definers only, because the caller is not signed in.';

create function private.finish_sso(p_attempt uuid, p_issuer text, p_subject text, p_email text, p_is_verified boolean, p_first_name text, p_last_name text, p_token_digest bytea, p_ip inet, p_user_agent text, p_lifetime interval, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, company_id uuid, user_id uuid, expires_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_attempt public.sso_attempts;
  v_connection public.sso_connections;
  v_user public.users;
  v_is_closed boolean;
  v_linked uuid;
  v_admitted uuid;
  v_outcome text;
  v_domains text[];
begin
  delete from public.sso_attempts a
  where a.id = p_attempt and a.claimed_at > p_now - interval '5 minutes'
  returning a.* into v_attempt;
  -- The company first, as everything that takes a seat.
  select c.subscription_status = 'cancelled' into v_is_closed from public.companies c
  where c.id = v_attempt.company_id for no key update;
  select c.* into v_connection from public.sso_connections c
  where c.company_id = v_attempt.company_id and c.id = v_attempt.connection_id and c.is_active
    and c.issuer = p_issuer
  for share;
  if v_connection.id is null then
    return query select 'closed', null::uuid, null::uuid, null::timestamptz;
    return;
  end if;
  v_domains := array(select d.domain from public.sso_domains d
    where d.company_id = v_connection.company_id and d.connection_id = v_connection.id
      and d.proven_at is not null);
  select i.user_id into v_linked from public.external_identities i
  where i.company_id = v_connection.company_id and i.connection_id = v_connection.id
    and i.subject = p_subject;
  if v_linked is null then
    v_outcome := case
      when p_email is null then 'no_email'
      when p_is_verified is not true then 'not_verified'
      when split_part(p_email, '@', 2) <> all (v_domains) then 'other_domain' end;
  end if;
  if v_outcome is null then
    select u.* into v_user from public.users u
    where u.company_id = v_connection.company_id
      and (u.id = v_linked or v_linked is null and u.email = p_email)
    for no key update;
    if v_user.id is null and not v_is_closed then
      v_admitted := private.admit_by_sso(v_connection, p_email, p_first_name, p_last_name, p_now);
      select u.* into v_user from public.users u
      where u.company_id = v_connection.company_id and u.id = v_admitted;
    end if;
    v_outcome := case
      when v_user.id is null then 'not_invited'
      when not v_user.is_active or v_user.auth_user_id is null then 'deactivated'
      when split_part(v_user.email, '@', 2) <> all (v_domains) then 'other_domain'
      when v_linked is null and exists (
        select from public.external_identities i
        where i.company_id = v_connection.company_id and i.connection_id = v_connection.id
          and i.user_id = v_user.id) then 'linked_to_other' end;
  end if;
  if v_outcome is not null then
    perform private.write_audit(v_connection.company_id, 'login_denied', 'sso_connections',
      v_connection.id, jsonb_build_object('reason', v_outcome), v_user.id);
    return query select v_outcome, v_connection.company_id, v_user.id, null::timestamptz;
    return;
  end if;
  insert into public.external_identities as i (company_id, connection_id, subject, user_id)
  values (v_connection.company_id, v_connection.id, p_subject, v_user.id)
  on conflict on constraint external_identities_company_id_connection_id_subject_key
    do update set last_login_at = p_now;
  return query select 'signed_in', v_connection.company_id, v_user.id,
    private.open_sso_session(v_connection.company_id, v_user.id, v_connection.id, p_token_digest,
      p_ip, p_user_agent, p_lifetime);
end $$;
comment on function private.finish_sso(uuid, text, text, text, boolean, text, text, bytea, inet, text, interval, timestamptz) is
  'Signs in the person whom the provider of a claimed attempt names, into that provider''s company. Outcome: signed_in, closed, no_email, not_verified, other_domain, not_invited, deactivated or linked_to_other (the address belongs to another subject; perhaps it was reassigned); error NA002 if no seat is left. Existing members may enter a closed company, for reading. It writes everything or nothing. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.finish_sso(uuid, text, text, text, boolean, text, text, bytea,
  inet, text, interval, timestamptz) to neurant_app;

create function private.end_sessions_by_sso() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid := coalesce(new.company_id, old.company_id);
begin
  delete from public.login_sessions s
  using public.users u
  where s.company_id = v_company and u.company_id = s.company_id and u.id = s.user_id
    and case
      when s.sso_connection_id is null then private.sso_required(v_company, u.id) is not null
      else not exists (
        select from public.sso_connections c
        join public.sso_domains d on d.company_id = c.company_id and d.connection_id = c.id
        where c.company_id = v_company and c.id = s.sso_connection_id and c.is_active
          and d.proven_at is not null and d.domain = split_part(u.email, '@', 2)) end;
  return null;
end $$;
comment on function private.end_sessions_by_sso() is
  'Ends the sessions that could not be opened any more: by password where the provider is enforced now, or through a connection or domain that is no longer valid. Security definer, called by a trigger, because no role may delete sessions directly.';

create trigger end_sessions_by_sso after update of is_active, is_enforced on public.sso_connections
  for each row execute function private.end_sessions_by_sso();

create function private.end_sessions_of_identity() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from public.login_sessions s
  where s.company_id = old.company_id and s.user_id = old.user_id
    and s.sso_connection_id = old.connection_id;
  return null;
end $$;
comment on function private.end_sessions_of_identity() is
  'Ends the sessions of an identity that is unlinked. Security definer, called by a trigger, because no role may delete sessions directly.';

create trigger end_sessions_of_identity after delete on public.external_identities
  for each row execute function private.end_sessions_of_identity();

create function private.sso_instead(p_auth_user uuid) returns text
language sql stable security definer set search_path = '' as $$
  select min(c.name)
  from public.users u
  left join public.sso_connections c
    on c.company_id = u.company_id and c.id = (select private.sso_required(u.company_id, u.id))
  where u.auth_user_id = p_auth_user and u.is_active
  having count(*) > 0 and count(*) = count(c.id)
$$;
comment on function private.sso_instead(uuid) is
  'Returns the provider that a person must use if none of the person''s companies accepts a password; else null. Security definer, called by the web process, because it is called after the password check, before there is a session.';
grant execute on function private.sso_instead(uuid) to neurant_app;
