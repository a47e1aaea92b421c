-- The audit chain: seals over audit rows, and chain heads that are exported.

create table public.audit_seals (
  company_id uuid not null,
  seq bigint not null check (seq > 0),
  audit_id uuid not null,
  row_digest bytea not null check (octet_length(row_digest) = 32),
  chain_hash bytea not null check (octet_length(chain_hash) = 32),
  sealed_at timestamptz not null default now(),
  primary key (company_id, seq),
  unique (company_id, audit_id)
);
comment on column public.audit_seals.chain_hash is
  'SHA-256 of the previous chain_hash (for the company''s first seal: private.audit_genesis) followed by row_digest.';

alter table public.audit_seals enable row level security, force row level security;
create policy staff_select on public.audit_seals for select to authenticated
  using (company_id = (select private.company_id('audit.read')));
create policy router_insert on public.audit_seals for insert to neurant_router with check (true);
grant select on public.audit_seals to authenticated;
grant insert on public.audit_seals to neurant_router;

create trigger refuse_change before update or delete or truncate on public.audit_seals
  for each statement execute function private.refuse_change();

create table public.audit_chains (
  company_id uuid primary key,
  seq bigint not null default 0 check (seq >= 0),
  chain_hash bytea not null check (octet_length(chain_hash) = 32),
  sealed_at timestamptz,
  exported_seq bigint not null default 0 check (exported_seq <= seq)
);
comment on table public.audit_chains is
  'The end of each company''s chain, and the sequence number up to which its signed head has been exported.';
create index audit_chains_unexported_idx on public.audit_chains (company_id) where seq > exported_seq;

alter table public.audit_chains enable row level security, force row level security;
create policy staff_select on public.audit_chains for select to authenticated
  using (company_id = (select private.company_id('audit.read')));
create policy router_select on public.audit_chains for select to neurant_router using (true);
create policy router_insert on public.audit_chains for insert to neurant_router with check (true);
create policy router_update on public.audit_chains for update to neurant_router using (true) with check (true);
grant select on public.audit_chains to authenticated;
grant select, insert on public.audit_chains to neurant_router;
grant update (seq, chain_hash, sealed_at, exported_seq) on public.audit_chains to neurant_router;

create function private.audit_text(variadic p_fields text[]) returns text
language sql immutable set search_path = '' as $$
  select string_agg(
    case when f.value is null then '-' else octet_length(f.value) || ':' || f.value end,
    ',' order by f.place)
  from unnest(p_fields) with ordinality f (value, place)
$$;
comment on function private.audit_text(text[]) is
  'Encodes fields as one text without ambiguity: each field is preceded by its length in bytes; null is "-".';
grant execute on function private.audit_text(text[]) to neurant_router;

create function private.audit_digest(p_row public.audit_logs) returns bytea
language sql stable set search_path = '' as $$
  select sha256(convert_to(private.audit_text(
    'neurant-audit-1', p_row.company_id::text, p_row.id::text, p_row.user_id::text, p_row.user_email,
    p_row.user_role::text, p_row.action::text, p_row.resource_type, p_row.resource_id::text,
    p_row.details::text, p_row.ip_address::text, p_row.user_agent, p_row.session_id,
    p_row.request_id, (extract(epoch from p_row.created_at) * 1000000)::bigint::text), 'UTF8'))
$$;
comment on function private.audit_digest(public.audit_logs) is
  'Returns the SHA-256 of the row''s canonical text. neurant/audit computes the same digest independently.';
grant execute on function private.audit_digest(public.audit_logs) to neurant_router;

create function private.audit_genesis(p_company uuid) returns bytea
language sql immutable set search_path = '' as $$
  select sha256(convert_to('neurant-audit-1:' || p_company, 'UTF8'))
$$;
grant execute on function private.audit_genesis(uuid) to neurant_router;

create function private.await_seal() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.audit_unsealed (company_id, audit_id) values (new.company_id, new.id);
  return null;
end $$;
comment on function private.await_seal() is
  'Notes a new audit row as not sealed. Security definer, called by a trigger, because no role may write the list of unsealed rows directly.';

create trigger await_seal after insert on public.audit_logs
  for each row execute function private.await_seal();

create function private.seal_audit(p_limit integer default 1000) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_chain public.audit_chains;
  v_row record;
  v_sealed integer := 0;
begin
  insert into public.audit_chains (company_id, chain_hash)
  select distinct u.company_id, private.audit_genesis(u.company_id)
  from public.audit_unsealed u
  where not exists (select from public.audit_chains c where c.company_id = u.company_id)
  order by u.company_id
  on conflict do nothing;
  select c.* into v_chain from public.audit_chains c
  where exists (select from public.audit_unsealed u where u.company_id = c.company_id)
  order by c.sealed_at nulls first, c.company_id
  limit 1 for update skip locked;
  if not found then
    return 0;
  end if;
  for v_row in
    with sealed as (
      delete from public.audit_unsealed u
      where u.company_id = v_chain.company_id and u.audit_id = any (array(
        select w.audit_id from public.audit_unsealed w
        where w.company_id = v_chain.company_id order by w.audit_id limit p_limit))
      returning u.audit_id
    )
    select a.id, private.audit_digest(a) as digest
    from public.audit_logs a
    where a.company_id = v_chain.company_id and a.id in (select s.audit_id from sealed s)
    order by a.id
  loop
    v_chain.seq := v_chain.seq + 1;
    v_chain.chain_hash := sha256(v_chain.chain_hash || v_row.digest);
    insert into public.audit_seals (company_id, seq, audit_id, row_digest, chain_hash)
    values (v_chain.company_id, v_chain.seq, v_row.id, v_row.digest, v_chain.chain_hash);
    v_sealed := v_sealed + 1;
  end loop;
  update public.audit_chains c
  set seq = v_chain.seq, chain_hash = v_chain.chain_hash, sealed_at = clock_timestamp()
  where c.company_id = v_chain.company_id;
  return v_sealed;
end $$;
comment on function private.seal_audit(integer) is
  'Seals at most p_limit rows of the company that has waited longest and that no other process is sealing; returns the number (0: nothing to do). The order is that in which rows become visible here, so a row that commits late comes later and leaves no gap. Security definer, called by the worker process, because no role may write seals directly.';
grant execute on function private.seal_audit(integer) to neurant_jobs;

create function private.unexported_audit_heads(p_limit integer default 1000)
returns table (company_id uuid, seq bigint, chain_hash bytea, sealed_at timestamptz)
language sql stable security definer set search_path = '' as $$
  select c.company_id, c.seq, c.chain_hash, c.sealed_at
  from public.audit_chains c where c.seq > c.exported_seq order by c.company_id limit p_limit
$$;
comment on function private.unexported_audit_heads(integer) is
  'Returns the chain heads that are to be signed and stored outside the database. Security definer, called by the worker process, because the worker''s login exports for all companies and may read none.';
grant execute on function private.unexported_audit_heads(integer) to neurant_jobs;

create function private.note_audit_export(p_companies uuid[], p_seqs bigint[]) returns void
language sql volatile security definer set search_path = '' as $$
  update public.audit_chains c set exported_seq = greatest(c.exported_seq, e.seq)
  from unnest(p_companies, p_seqs) e (company_id, seq)
  where c.company_id = e.company_id and e.seq <= c.seq
$$;
comment on function private.note_audit_export(uuid[], bigint[]) is
  'Notes that these chain heads have been exported. Security definer, called by the worker process, because the worker''s login exports for all companies and may read none.';
grant execute on function private.note_audit_export(uuid[], bigint[]) to neurant_jobs;
