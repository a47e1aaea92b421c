-- API keys, idempotent requests and the rate limit of the HTTP API.

create table public.api_keys (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  name varchar(100) not null check (btrim(name) <> ''),
  prefix varchar(16) not null,
  key_digest bytea not null unique check (octet_length(key_digest) = 32),
  role public.user_role_enum not null,
  scopes text[] not null default '{}' check (array_position(scopes, null) is null),
  created_by uuid not null,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, created_by) references public.users (company_id, id),
  constraint api_keys_role_check
    check (role in ('administrador', 'supervisor', 'operador')),
  constraint api_keys_name_reads_check
    check (private.reads_as_label(name))
);
comment on table public.api_keys is
  'Keys for programs. A key acts as its maker, within its scopes and with the weaker of the key''s role and the maker''s role; it ends with the maker''s account.';
comment on column public.api_keys.prefix is
  'The first characters, by which people distinguish keys.';
comment on column public.api_keys.scopes is
  'The permissions that the key has at most; the key''s role and its maker limit them further.';
create index api_keys_created_by_idx on public.api_keys (company_id, created_by);

alter table public.api_keys enable row level security, force row level security;
create policy staff_select on public.api_keys for select to authenticated
  using (company_id = (select private.company_id('api_keys.read')));
create policy staff_insert on public.api_keys for insert to authenticated
  with check (company_id = (select private.company_id('api_keys.manage'))
    and created_by = (select private.user_id()));
create policy staff_update on public.api_keys for update to authenticated
  using (company_id = (select private.company_id('api_keys.manage')))
  with check (company_id = (select private.company_id('api_keys.manage')));
create policy router_select on public.api_keys for select to neurant_router using (true);
create policy router_update on public.api_keys for update to neurant_router using (true) with check (true);
grant select (company_id, id, name, prefix, role, scopes, created_by, created_at, last_used_at,
  expires_at, revoked_at) on public.api_keys to authenticated;
grant insert (company_id, id, name, prefix, key_digest, role, scopes, created_by, expires_at) on
  public.api_keys to authenticated;
grant update (name) on public.api_keys to authenticated;
grant select on public.api_keys to neurant_router;
grant update (last_used_at, revoked_at) on public.api_keys to neurant_router;

select private.audit_table('public.api_keys', 'created_by',
  '{prefix,role,created_by,expires_at,revoked_at,scopes}',
  '{name}',
  '{key_digest}',
  '{last_used_at,created_at}');

create trigger check_key_scopes before insert or update of scopes on public.api_keys
  for each row execute function private.check_key_scopes();

create table public.idempotency_keys (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  key_digest bytea not null check (octet_length(key_digest) = 32),
  request_digest bytea not null check (octet_length(request_digest) = 32),
  status smallint check (status between 200 and 399),
  answer_encrypted bytea,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, key_digest),
  check ((status is null) = (answer_encrypted is null))
);
comment on table public.idempotency_keys is
  'Requests of the last day that carried an Idempotency-Key. Each row is written in the transaction of the request''s effects.';
comment on column public.idempotency_keys.key_digest is 'SHA-256 of the caller and the key.';
comment on column public.idempotency_keys.answer_encrypted is
  'Headers and body, encrypted under a key derived from the Idempotency-Key itself, so that only a client that repeats the key can read them.';
create index idempotency_keys_created_idx on public.idempotency_keys (created_at);

alter table public.idempotency_keys enable row level security, force row level security;
create policy router_select on public.idempotency_keys for select to neurant_router using (true);
create policy router_insert on public.idempotency_keys for insert to neurant_router with check (true);
create policy router_update on public.idempotency_keys for update to neurant_router using (true) with check (true);
create policy router_delete on public.idempotency_keys for delete to neurant_router using (true);
grant select, insert, delete on public.idempotency_keys to neurant_router;
grant update (status, answer_encrypted) on public.idempotency_keys to neurant_router;

create unlogged table public.request_allowances (
  company_id uuid not null primary key references public.companies (id),
  tokens double precision not null,
  refilled_at timestamptz not null default clock_timestamp(),
  page_tokens double precision,
  page_refilled_at timestamptz
) with (fillfactor = 50);
comment on table public.request_allowances is
  'A token bucket per company, from which each web process takes a share at a time. Unlogged: after a crash every bucket is full.';
comment on column public.request_allowances.page_tokens is
  'The bucket of the console''s pages. Null: no page was opened yet, so the bucket is full.';

alter table public.request_allowances enable row level security, force row level security;
create policy router_select on public.request_allowances for select to neurant_router using (true);
create policy router_insert on public.request_allowances for insert to neurant_router with check (true);
create policy router_update on public.request_allowances for update to neurant_router using (true) with check (true);
grant select, insert on public.request_allowances to neurant_router;
grant update (tokens, refilled_at, page_tokens, page_refilled_at) on public.request_allowances to
  neurant_router;

create function private.revoke_api_key(p_key uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('api_keys.manage');
begin
  if v_company is null then
    return 'forbidden';
  end if;
  update public.api_keys k set revoked_at = now()
  where k.company_id = v_company and k.id = p_key and k.revoked_at is null;
  if found then
    return 'revoked';
  end if;
  return case when exists (
    select from public.api_keys k where k.company_id = v_company and k.id = p_key
  ) then 'revoked_before' else 'not_found' end;
end $$;
comment on function private.revoke_api_key(uuid) is
  'Ends a key for good. Outcome: revoked, revoked_before, not_found or forbidden. Security definer, called by staff and API keys, because no role may write the timestamp directly, so that no one can undo it.';
grant execute on function private.revoke_api_key(uuid) to authenticated;

create function private.begin_idempotent(p_key_digest bytea, p_request_digest bytea)
returns table (outcome text, status smallint, answer_encrypted bytea)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('company.read');
  v_known public.idempotency_keys;
begin
  if v_company is null then
    return query select 'nobody', null::smallint, null::bytea;
    return;
  end if;
  -- Held until the first request has committed or failed: meanwhile the same key is in flight.
  if not pg_try_advisory_xact_lock(
    hashtextextended(v_company::text || encode(p_key_digest, 'hex'), 20261123)) then
    return query select 'in_flight', null::smallint, null::bytea;
    return;
  end if;
  select k.* into v_known from public.idempotency_keys k
  where k.company_id = v_company and k.key_digest = p_key_digest;
  if v_known.id is null then
    insert into public.idempotency_keys (company_id, key_digest, request_digest)
    values (v_company, p_key_digest, p_request_digest);
    return query select 'new', null::smallint, null::bytea;
  elsif v_known.request_digest <> p_request_digest then
    return query select 'other_request', null::smallint, null::bytea;
  else
    return query select 'answered', v_known.status, v_known.answer_encrypted;
  end if;
end $$;
comment on function private.begin_idempotent(bytea, bytea) is
  'Begins a request with an Idempotency-Key. Outcome: new, answered (with the stored answer), in_flight, other_request (the key was used for another request) or nobody (the caller is no principal). Security definer, called by staff and API keys, because no role may read its rows directly.';
grant execute on function private.begin_idempotent(bytea, bytea) to authenticated;

create function private.end_idempotent(p_key_digest bytea, p_status smallint, p_answer_encrypted bytea)
returns void
language sql volatile security definer set search_path = '' as $$
  update public.idempotency_keys k set status = p_status, answer_encrypted = p_answer_encrypted
  where k.company_id = (select private.company_id('company.read'))
    and k.key_digest = p_key_digest and k.status is null
$$;
comment on function private.end_idempotent(bytea, smallint, bytea) is
  'Stores the answer of a request, in the transaction of its effects. Security definer, called by staff and API keys, because no role may write its rows directly.';
grant execute on function private.end_idempotent(bytea, smallint, bytea) to authenticated;

create function private.drop_idempotency_keys(p_now timestamptz default now()) returns bigint
language plpgsql security definer set search_path = '' as $$
declare
  v_dropped bigint;
begin
  delete from public.idempotency_keys k where k.created_at < p_now - interval '1 day';
  get diagnostics v_dropped = row_count;
  return v_dropped;
end $$;
comment on function private.drop_idempotency_keys(timestamptz) is
  'Deletes rows older than a day; returns their number. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.drop_idempotency_keys(timestamptz) to neurant_jobs;

create function private.lease_requests(p_company uuid, p_share integer)
returns table (leased integer, remaining integer, wait_seconds double precision, number integer)
language plpgsql security definer set search_path = '' as $$
declare
  v_number integer;
  v_now timestamptz := clock_timestamp();
  v_tokens double precision;
  v_leased integer;
begin
  select p.requests_per_minute into v_number
  from public.companies c join public.plans p on p.plan = c.subscription_plan
  where c.id = p_company;
  if v_number is null then
    return;
  end if;
  insert into public.request_allowances as a (company_id, tokens, refilled_at)
  values (p_company, v_number, v_now)
  on conflict (company_id) do update
  set tokens = least(v_number, a.tokens
      + greatest(extract(epoch from v_now - a.refilled_at), 0) * v_number / 60.0),
    refilled_at = greatest(a.refilled_at, v_now)
  returning a.tokens into v_tokens;
  v_leased := greatest(least(p_share, floor(v_tokens)::integer), 0);
  if v_leased > 0 then
    update public.request_allowances a set tokens = a.tokens - v_leased
    where a.company_id = p_company;
  end if;
  return query select v_leased, floor(v_tokens)::integer - v_leased,
    (case when v_leased = 0 then (1 - v_tokens) * 60.0 / v_number else 0 end), v_number;
end $$;
comment on function private.lease_requests(uuid, integer) is
  'Takes up to a share of a company''s requests of this minute for one web process. Returns how many it got, how many are left for all, the seconds until there is one (0: it got some), and the plan''s number a minute. Security definer, called by the web process, because it is called before the principal is known, and no role may write the bucket directly.';
grant execute on function private.lease_requests(uuid, integer) to neurant_app;

create function private.lease_page_requests(p_company uuid, p_share integer)
returns table (leased integer, remaining integer, wait_seconds double precision)
language plpgsql security definer set search_path = '' as $$
declare
  v_number integer;
  v_now timestamptz := clock_timestamp();
  v_tokens double precision;
  v_leased integer;
begin
  select p.requests_per_minute into v_number
  from public.companies c join public.plans p on p.plan = c.subscription_plan
  where c.id = p_company;
  if v_number is null then
    return;
  end if;
  insert into public.request_allowances as a (company_id, tokens, page_tokens, page_refilled_at)
  values (p_company, v_number, v_number, v_now)
  on conflict (company_id) do update
  set page_tokens = least(v_number, coalesce(a.page_tokens, v_number)
      + greatest(extract(epoch from v_now - coalesce(a.page_refilled_at, v_now)), 0)
        * v_number / 60.0),
    page_refilled_at = greatest(a.page_refilled_at, v_now)
  returning a.page_tokens into v_tokens;
  v_leased := greatest(least(p_share, floor(v_tokens)::integer), 0);
  if v_leased > 0 then
    update public.request_allowances a set page_tokens = a.page_tokens - v_leased
    where a.company_id = p_company;
  end if;
  return query select v_leased, floor(v_tokens)::integer - v_leased,
    (case when v_leased = 0 then (1 - v_tokens) * 60.0 / v_number else 0 end);
end $$;
comment on function private.lease_page_requests(uuid, integer) is
  'Takes up to a share of a company''s console pages of this minute for one web process. Returns how many it got, how many are left for all, and the seconds until there is one (0: it got some). Security definer, called by the web process, because it is called before the reader''s permissions are known, and no role may write the bucket directly.';
grant execute on function private.lease_page_requests(uuid, integer) to neurant_app;
