-- migrate:up
-- A request that is sent again gets its first answer (Idempotency-Key).
set local role neurant_owner;

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
  'Requests of the last day that carried an Idempotency-Key, written in the transaction of their effects.';
comment on column public.idempotency_keys.key_digest is 'SHA-256 of who asked and the key.';
comment on column public.idempotency_keys.answer_encrypted is
  'Headers and body, under a key made of the Idempotency-Key itself: only who sends it again can read them.';
create index idempotency_keys_created_idx on public.idempotency_keys (created_at);

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
  'Whether a request is new, answered before (with its answer), in_flight, other_request (the key was used for another), or nobody''s. Definer: its rows are nobody''s to read by hand.';

create function private.end_idempotent(p_key_digest bytea, p_status smallint, p_answer_encrypted bytea)
returns void
language sql volatile security definer set search_path = '' as $$
  update public.idempotency_keys k set status = p_status, answer_encrypted = p_answer_encrypted
  where k.company_id = (select private.company_id('company.read'))
    and k.key_digest = p_key_digest and k.status is null
$$;
comment on function private.end_idempotent(bytea, smallint, bytea) is
  'Keeps the answer of a request, in the transaction of its effects. Definer, as begin_idempotent.';

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
  'Forgets what is older than a day; how many. Definer: over all companies.';

alter table public.idempotency_keys enable row level security, force row level security;
create policy router_select on public.idempotency_keys for select to neurant_router using (true);
create policy router_insert on public.idempotency_keys for insert to neurant_router with check (true);
create policy router_update on public.idempotency_keys for update to neurant_router using (true) with check (true);
create policy router_delete on public.idempotency_keys for delete to neurant_router using (true);
grant select, insert, delete on public.idempotency_keys to neurant_router;
grant update (status, answer_encrypted) on public.idempotency_keys to neurant_router;

grant execute on function private.begin_idempotent(bytea, bytea),
  private.end_idempotent(bytea, smallint, bytea) to authenticated;
grant execute on function private.drop_idempotency_keys(timestamptz) to neurant_jobs;
alter function private.begin_idempotent(bytea, bytea) owner to neurant_router;
alter function private.end_idempotent(bytea, smallint, bytea) owner to neurant_router;
alter function private.drop_idempotency_keys(timestamptz) owner to neurant_router;

reset role;
-- migrate:down
