-- Domains of single sign-on: claimed by a company, proven by DNS or by the host.

create table public.public_mail_domains (
  domain varchar(253) primary key check (domain = lower(domain))
);
comment on table public.public_mail_domains is
  'Platform table: mail domains in which anybody can get an address. No company can claim them.';

alter table public.public_mail_domains enable row level security, force row level security;
create policy router_select on public.public_mail_domains for select to neurant_router using (true);
grant select on public.public_mail_domains to neurant_router;

create table public.sso_domains (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  connection_id uuid not null,
  domain varchar(253) not null
    check (domain ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z0-9-]{2,63}$'),
  token varchar(64) not null,
  proven_by text,
  proven_at timestamptz,
  checked_at timestamptz,
  last_check text,
  failing_since timestamptz,
  check_due_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, connection_id)
    references public.sso_connections (company_id, id) on delete cascade,
  constraint sso_domains_proven_by_check check (proven_by in ('dns', 'host')),
  constraint sso_domains_last_check_check
    check (last_check in ('found', 'absent', 'unreachable')),
  constraint sso_domains_proven_check
    check ((proven_at is null) = (proven_by is null))
);
comment on table public.sso_domains is
  'The claim of a company to a mail domain. It has an effect (finds the provider, admits, enforces) only while proven_at is set; of several claims to one domain only one can be proven.';
comment on column public.sso_domains.domain is 'In ASCII (IDNA), lower case.';
comment on column public.sso_domains.token is
  'The text that the TXT record must contain, so that it proves this claim and no other company''s. Not a secret.';
comment on column public.sso_domains.proven_by is
  'dns: the TXT record was found, and is checked again. host: the operator of the installation vouched for it by command.';
comment on column public.sso_domains.checked_at is
  'When the DNS was asked last, whatever it answered.';
comment on column public.sso_domains.last_check is
  'found; absent (the DNS answered, without the record); unreachable (no answer, or a name server failed), which says nothing about the record.';
comment on column public.sso_domains.failing_since is
  'Since when the record of a domain that it proved is absent; null while it is there. After three days the domain is no longer proven.';
comment on column public.sso_domains.check_due_at is
  'When the worker checks again. A worker that takes the check moves it on.';
create index sso_domains_connection_idx on public.sso_domains (company_id, connection_id);
create unique index sso_domains_proven_key on public.sso_domains (domain)
  where proven_at is not null;
create unique index sso_domains_claimed_key on public.sso_domains (company_id, domain)
  where proven_at is null;

alter table public.sso_domains enable row level security, force row level security;
create policy staff_select on public.sso_domains for select to authenticated
  using (company_id = (select private.company_id('sso.read')));
create policy router_select on public.sso_domains for select to neurant_router using (true);
create policy router_insert on public.sso_domains for insert to neurant_router with check (true);
create policy router_update on public.sso_domains for update to neurant_router
  using (true) with check (true);
create policy router_delete on public.sso_domains for delete to neurant_router using (true);
grant select on public.sso_domains to authenticated;
grant select, insert, delete on public.sso_domains to neurant_router;
grant update (proven_by, proven_at, checked_at, last_check, failing_since, check_due_at) on
  public.sso_domains to neurant_router;

select private.audit_table('public.sso_domains', 'connection_id',
  '{connection_id,proven_by,proven_at,failing_since}',
  '{domain}',
  '{}',
  '{created_at,token,checked_at,last_check,check_due_at}');

create trigger end_sessions_by_sso after insert or delete or update of proven_at
  on public.sso_domains for each row execute function private.end_sessions_by_sso();

create function private.set_sso_domains(p_connection uuid, p_domains text[])
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
  'Replaces the domains that a connection claims. Returns a row for each domain that it cannot claim: public (a domain of public mailboxes) or taken (proven by another company, or claimed by another connection of this one), or one row forbidden or not_found; with any row the caller rolls back. A claim proves nothing; private.note_sso_domain_check and private.prove_sso_domain prove it. Security definer, called by staff and API keys, because the caller may not see the claims of other companies.';
grant execute on function private.set_sso_domains(uuid, text[]) to authenticated;

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
  'Marks a claim as proven; returns false if another company''s claim is. Security definer, called by other definers only, because no role may write whether a domain is proven.';

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
  'Records the result of a DNS check of a claim (found, absent, unreachable) and its consequence: proven, taken (another company''s claim is proven), failing (absent for less than three days), lost (absent for longer: no longer proven, and owner and administradores are notified), unknown, else the result itself. p_actor: the login that requested the check, for audit. Security definer, called by the web process and the worker process, because no role may write whether a domain is proven.';
grant execute on function private.note_sso_domain_check(uuid, uuid, text, timestamptz, uuid) to
  neurant_app, neurant_jobs;

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
  'Returns up to twenty domains whose TXT record is due for a check, and reserves them for an hour. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.sso_domains_to_check(timestamptz) to neurant_jobs;

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
  'Marks a company''s claim as proven because the operator of the installation vouches for it; the DNS is then not checked. Outcome: proven, unknown_company, not_claimed or taken. Security definer, called by the web process, because no role may write whether a domain is proven.';
grant execute on function private.prove_sso_domain(text, text, timestamptz) to neurant_app;
