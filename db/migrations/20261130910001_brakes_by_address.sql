-- migrate:up
-- Loopback counts like any address; single sign-on is limited by address, and a company's claims and attempts in number.
set local role neurant_owner;

create or replace function private.brake_keys(p_kind text, p_email text, p_address inet, p_device text)
returns table (key bytea, free integer, longest interval)
language sql immutable set search_path = '' as $$
  select sha256(convert_to(concat_ws('|', p_kind, k.scope, k.value), 'UTF8')), k.free, k.longest
  from (
    -- Whoever has one IPv6 address has its whole /64.
    select host(network(set_masklen(p_address, case family(p_address) when 4 then 32 else 64 end)))
      as address) a
  cross join lateral (values
    ('password', 'device', p_email || '|' || p_device, 5, interval '15 minutes'),
    ('password', 'pair', case when p_device is null then p_email || '|' || coalesce(a.address, '') end,
      5, interval '15 minutes'),
    ('password', 'login', case when p_device is null then p_email end, 30, interval '5 minutes'),
    ('password', 'address', a.address, 50, interval '1 minute'),
    ('code', 'device', p_email || '|' || p_device, 5, interval '15 minutes'),
    ('code', 'login', case when p_device is null then p_email end, 5, interval '15 minutes'),
    ('sign_up', 'address', a.address, 20, interval '15 minutes'),
    ('reset', 'address', a.address, 20, interval '15 minutes'),
    ('sso', 'address', a.address, 60, interval '1 minute')
  ) k (kind, scope, value, free, longest)
  where k.kind = p_kind and k.value is not null
$$;
comment on function private.brake_keys(text, text, inet, text) is
  'What an attempt counts against, how many are free, and the longest wait. A stranger slows other strangers down by five minutes at most, and nobody on a device that was proven before (p_device); an office by one. Loopback is an address like any other: the process names the client behind a trusted proxy. An attempt without an address counts against none.';

reset role;

create or replace function private.begin_sso(
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
  'Somebody with an address in this domain goes to their provider, and has ten minutes to come back; no row where the domain has none. A connection keeps its newest 1000 attempts. Definer: the caller is nobody yet.';

create or replace function private.forget_old_accounts(p_now timestamptz default now())
returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_gone integer;
  v_all integer := 0;
begin
  delete from public.sign_ups s where s.created_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.password_resets r where r.expires_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.login_challenges c where c.expires_at < p_now;
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  -- For an hour somebody who comes back late is still told that it was too late.
  delete from public.sso_attempts a where a.expires_at < p_now - interval '1 hour';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.account_brakes b where b.touched_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.auth_sessions a where a.expires_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  return v_all + v_gone;
end $$;
comment on function private.forget_old_accounts(timestamptz) is
  'Forgets sign-ups, links, brakes and sessions that are over for days, and single sign-ons that are over for an hour; how many. Definer: they are no company''s.';

create or replace function private.set_sso_domains(p_connection uuid, p_domains text[])
returns table (outcome text, domain text)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('sso.manage');
  v_domain text;
  v_before bigint;
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
  select count(*) into v_before from public.sso_domains d where d.company_id = v_company;
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
  -- Each claim is looked up in the DNS again and again. A company that had more may keep or lessen them.
  if (select count(*) from public.sso_domains d where d.company_id = v_company)
    > greatest(50, v_before)
  then
    return query select 'too_many', null::text;
  end if;
end $$;
comment on function private.set_sso_domains(uuid, text[]) is
  'Which domains a connection speaks for, from now on exactly these; a row for each that cannot be: public or taken, or one row too_many (a company has 50 claims at most), forbidden or not_found. The caller rolls back if there is any. Definer: whether another company has proven a domain is nobody''s to read.';
-- migrate:down
