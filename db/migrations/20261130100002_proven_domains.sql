-- migrate:up
-- A domain counts for single sign-on once it is proven: by a TXT record in the DNS, which is checked
-- again on a schedule, or by the host's command. A confirmed mailbox proves nothing any more.
set local role neurant_owner;

alter table public.sso_domains
  add column token varchar(64),
  add column proven_by text,
  add column proven_at timestamptz,
  add column checked_at timestamptz,
  add column last_check text,
  add column failing_since timestamptz,
  add column check_due_at timestamptz,
  add constraint sso_domains_proven_by_check check (proven_by in ('dns', 'host')) not valid,
  add constraint sso_domains_last_check_check
    check (last_check in ('found', 'absent', 'unreachable')) not valid,
  add constraint sso_domains_proven_check
    check ((proven_at is null) = (proven_by is null)) not valid,
  drop constraint sso_domains_domain_key;
create unique index sso_domains_proven_key on public.sso_domains (domain)
  where proven_at is not null;
create unique index sso_domains_claimed_key on public.sso_domains (company_id, domain)
  where proven_at is null;
comment on table public.sso_domains is
  'A claim of a company to a mail domain. It counts (finds the provider, admits, enforces) only while proven_at is set; of several claims to one domain one can be proven.';
comment on column public.sso_domains.domain is 'In ASCII (IDNA), lower case.';
comment on column public.sso_domains.token is
  'What the TXT record must say, so that it proves this claim and no other company''s. Not a secret.';
comment on column public.sso_domains.proven_by is
  'dns: the TXT record was found, and is looked for again. host: the command of whoever runs the installation.';
comment on column public.sso_domains.checked_at is 'When the DNS was asked last, whatever it answered.';
comment on column public.sso_domains.last_check is
  'found; absent (the DNS answered, without the record); unreachable (no answer, or a failure of a name server), which says nothing of the record.';
comment on column public.sso_domains.failing_since is
  'Since when the record of a domain that it proved is absent; null while it is there. After three days the domain is not proven any more.';
comment on column public.sso_domains.check_due_at is 'When the worker looks again; a worker that looks moves it on.';

create policy router_update on public.sso_domains for update to neurant_router
  using (true) with check (true);
grant update (proven_by, proven_at, checked_at, last_check, failing_since, check_due_at)
  on public.sso_domains to neurant_router;
select private.audit_column('public.sso_domains', 'token', 'left_out');
select private.audit_column('public.sso_domains', 'proven_by', 'shown');
select private.audit_column('public.sso_domains', 'proven_at', 'shown');
select private.audit_column('public.sso_domains', 'checked_at', 'left_out');
select private.audit_column('public.sso_domains', 'last_check', 'left_out');
select private.audit_column('public.sso_domains', 'failing_since', 'shown');
select private.audit_column('public.sso_domains', 'check_due_at', 'left_out');

-- Who makes a trigger needs its function; the right ends with the statement.
reset role;
set local role neurant_router;
grant execute on function private.end_sessions_by_sso() to neurant_owner;
reset role;
set local role neurant_owner;
drop trigger end_sessions_by_sso on public.sso_domains;
create trigger end_sessions_by_sso after insert or delete or update of proven_at
  on public.sso_domains for each row execute function private.end_sessions_by_sso();
reset role;
set local role neurant_router;
revoke execute on function private.end_sessions_by_sso() from neurant_owner;
reset role;
set local role neurant_owner;

create function private.take_sso_domain(
  p_company uuid, p_id uuid, p_how text, p_now timestamptz)
returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  -- Who has left holds no name.
  delete from public.sso_domains d using public.companies o, public.sso_domains mine
  where mine.company_id = p_company and mine.id = p_id and d.domain = mine.domain
    and d.company_id <> p_company and o.id = d.company_id and o.subscription_status = 'cancelled';
  update public.sso_domains d
  set proven_by = p_how, proven_at = p_now, failing_since = null,
    check_due_at = p_now + interval '1 day'
  where d.company_id = p_company and d.id = p_id;
  return found;
exception when unique_violation then
  return false;
end $$;
comment on function private.take_sso_domain(uuid, uuid, text, timestamptz) is
  'A claim is proven; false where another company''s is. Definer: called by definers only.';

create function private.note_sso_domain_check(
  p_company uuid, p_id uuid, p_found text, p_now timestamptz default now(),
  p_actor uuid default null)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_claim public.sso_domains;
begin
  perform set_config('request.actor', p_actor::text, true);
  select d.* into v_claim from public.sso_domains d
  where d.company_id = p_company and d.id = p_id for update;
  if v_claim.id is null then
    return 'unknown';
  end if;
  update public.sso_domains d
  set checked_at = p_now, last_check = p_found,
    failing_since = case p_found when 'found' then null when 'unreachable' then d.failing_since
      else case d.proven_by when 'dns' then coalesce(d.failing_since, p_now) end end,
    check_due_at = p_now + case p_found when 'found' then interval '1 day'
      when 'absent' then interval '6 hours' else interval '1 hour' end
  where d.company_id = p_company and d.id = p_id;
  if p_found = 'found' and v_claim.proven_at is null then
    return case when private.take_sso_domain(p_company, p_id, 'dns', p_now)
      then 'proven' else 'taken' end;
  elsif p_found <> 'absent' or v_claim.proven_by is distinct from 'dns' then
    return p_found;
  elsif v_claim.failing_since is null then
    perform private.notify_users(p_company, '{owner,administrador}', 'sso_domain_failing',
      jsonb_build_object('domain', v_claim.domain));
    return 'failing';
  elsif v_claim.failing_since > p_now - interval '3 days' then
    return 'failing';
  end if;
  update public.sso_domains d set proven_by = null, proven_at = null, failing_since = null
  where d.company_id = p_company and d.id = p_id;
  perform private.notify_users(p_company, '{owner,administrador}', 'sso_domain_unproven',
    jsonb_build_object('domain', v_claim.domain));
  return 'lost';
end $$;
comment on function private.note_sso_domain_check(uuid, uuid, text, timestamptz, uuid) is
  'What the DNS said of a claim''s TXT record (found, absent, unreachable), and what follows: proven, taken (another company''s claim is proven), failing (absent, for less than three days), lost (for longer: not proven any more, owner and administradores are told), unknown, else the same word. p_actor: the login of whoever asked, for audit. Definer: whether a domain is proven is nobody''s to write.';

create function private.sso_domains_to_check(p_now timestamptz default now())
returns table (company_id uuid, id uuid, domain text, token text)
language sql volatile security definer set search_path = '' as $$
  update public.sso_domains d set check_due_at = p_now + interval '1 hour'
  where (d.company_id, d.id) in (
    select s.company_id, s.id from public.sso_domains s
    where s.proven_by = 'dns' and s.check_due_at <= p_now
    order by s.check_due_at limit 20 for update skip locked)
  returning d.company_id, d.id, d.domain::text, d.token::text
$$;
comment on function private.sso_domains_to_check(timestamptz) is
  'Up to twenty domains whose TXT record is to be looked for again; for an hour they are nobody else''s. Definer: over all companies.';

create function private.prove_sso_domain(
  p_slug text, p_domain text, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := (select c.id from public.companies c where c.slug = p_slug);
  v_claim public.sso_domains;
begin
  if v_company is null then
    return 'unknown_company';
  end if;
  select d.* into v_claim from public.sso_domains d
  where d.company_id = v_company and d.domain = p_domain for update;
  if v_claim.id is null then
    return 'not_claimed';
  end if;
  return case when private.take_sso_domain(v_company, v_claim.id, 'host', p_now)
    then 'proven' else 'taken' end;
end $$;
comment on function private.prove_sso_domain(text, text, timestamptz) is
  'Whoever runs the installation vouches for a company''s claim, which is not looked up in the DNS then: proven, unknown_company, not_claimed or taken. Definer: whether a domain is proven is nobody''s to write.';

grant execute on function private.take_sso_domain(uuid, uuid, text, timestamptz) to neurant_router;
grant execute on function private.note_sso_domain_check(uuid, uuid, text, timestamptz, uuid)
  to neurant_app, neurant_jobs;
grant execute on function private.sso_domains_to_check(timestamptz) to neurant_jobs;
grant execute on function private.prove_sso_domain(text, text, timestamptz) to neurant_app;
alter function private.take_sso_domain(uuid, uuid, text, timestamptz) owner to neurant_router;
alter function private.note_sso_domain_check(uuid, uuid, text, timestamptz, uuid) owner to neurant_router;
alter function private.sso_domains_to_check(timestamptz) owner to neurant_router;
alter function private.prove_sso_domain(text, text, timestamptz) owner to neurant_router;
reset role;

set local role neurant_router;
create or replace function private.sso_required(p_company uuid, p_user uuid) RETURNS uuid
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

create or replace function private.begin_sso(p_domain text, p_state_digest bytea, p_browser_digest bytea, p_next text, p_is_kept boolean, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(company_id uuid, connection_id uuid, name text, issuer text, client_id text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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
  delete from public.sso_attempts a
  where a.company_id = v_connection.company_id and a.connection_id = v_connection.id
    and a.expires_at < p_now - interval '1 hour';
  insert into public.sso_attempts
    (company_id, connection_id, state_digest, browser_digest, next_path, is_kept, expires_at)
  values (v_connection.company_id, v_connection.id, p_state_digest, p_browser_digest, p_next,
    p_is_kept, p_now + interval '10 minutes');
  return query select v_connection.company_id, v_connection.id, v_connection.name::text,
    v_connection.issuer::text, v_connection.client_id::text;
end $$;

create or replace function private.sso_of_domain(p_domain text) RETURNS TABLE(name text, is_enforced boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select c.name::text, c.is_enforced
  from public.sso_domains d
  join public.sso_connections c on c.company_id = d.company_id and c.id = d.connection_id
  where d.domain = p_domain and d.proven_at is not null and c.is_active
$$;

create or replace function private.finish_sso(p_attempt uuid, p_issuer text, p_subject text, p_email text, p_is_verified boolean, p_first_name text, p_last_name text, p_token_digest bytea, p_ip inet, p_user_agent text, p_lifetime interval, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, company_id uuid, user_id uuid, expires_at timestamp with time zone)
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

create or replace function private.end_sessions_by_sso() RETURNS trigger
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

create or replace function private.set_sso_domains(p_connection uuid, p_domains text[]) RETURNS TABLE(outcome text, domain text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid := private.company_id('sso.manage');
  v_domain text;
begin
  if v_company is null then
    return query select 'forbidden', null::text;
    return;
  end if;
  -- One change of a company's claims after the other: no domain is claimed twice in it.
  perform from public.companies c where c.id = v_company for no key update;
  perform from public.sso_connections c
  where c.company_id = v_company and c.id = p_connection for no key update;
  if not found then
    return query select 'not_found', null::text;
    return;
  end if;
  delete from public.sso_domains d
  where d.company_id = v_company and d.connection_id = p_connection
    and d.domain <> all (p_domains);
  -- In order, so that two companies that want the same ones do not wait for one another in a ring.
  for v_domain in select distinct x from unnest(p_domains) x order by x loop
    if exists (select from public.public_mail_domains p where p.domain = v_domain) then
      return query select 'public', v_domain;
    elsif exists (
      select from public.sso_domains d
      join public.companies o on o.id = d.company_id and o.subscription_status <> 'cancelled'
      where d.domain = v_domain and d.proven_at is not null and d.company_id <> v_company)
    then
      return query select 'taken', v_domain;
    else
      -- A claim proves nothing: other companies may claim the same domain until one proves it.
      insert into public.sso_domains (company_id, connection_id, domain, token)
      select v_company, p_connection, v_domain, replace(gen_random_uuid()::text, '-', '')
      where not exists (
        select from public.sso_domains d where d.company_id = v_company and d.domain = v_domain);
      if not exists (
        select from public.sso_domains d
        where d.company_id = v_company and d.connection_id = p_connection and d.domain = v_domain)
      then
        return query select 'taken', v_domain;
      end if;
    end if;
  end loop;
end $$;
comment on function private.sso_required(uuid, uuid) is
  'The connection that this user must come in by, as their domain is proven; null where a password will do. Definer: asked before anybody is signed in.';
comment on function private.sso_of_domain(text) is
  'What the button on the login page says for an address in a proven domain: nobody is offered a stranger''s provider. Definer: the caller is nobody yet.';
reset role;

-- What a mailbox proved is a claim now: its people come in by their passwords until it is proven.
update public.sso_domains set token = replace(gen_random_uuid()::text, '-', '');
alter table public.sso_domains alter column token set not null;
delete from public.login_sessions where sso_connection_id is not null;
select private.notify_users(d.company_id, '{owner,administrador}', 'sso_domain_unproven',
  jsonb_build_object('domain', d.domain))
from public.sso_domains d;
-- migrate:down
