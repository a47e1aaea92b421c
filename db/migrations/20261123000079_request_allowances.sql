-- migrate:up
-- How many requests of the HTTP API a company has left, for all web processes together.
set local role neurant_owner;

create unlogged table public.request_allowances (
  company_id uuid not null primary key references public.companies (id),
  tokens double precision not null,
  refilled_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);
comment on table public.request_allowances is
  'A token bucket per company, from which each web process takes a share at a time. Unlogged: after a crash every bucket is full.';

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
  'Takes up to a share of a company''s requests of this minute for one web process: how many it got, how many are left for all, seconds until there is one (0: it got some), and the plan''s number a minute. Definer: it is asked before anybody is let in, and nobody may write it by hand.';

alter table public.request_allowances enable row level security, force row level security;
create policy router_select on public.request_allowances for select to neurant_router using (true);
create policy router_insert on public.request_allowances for insert to neurant_router with check (true);
create policy router_update on public.request_allowances for update to neurant_router using (true) with check (true);
grant select, insert on public.request_allowances to neurant_router;
grant update (tokens, refilled_at) on public.request_allowances to neurant_router;
grant execute on function private.lease_requests(uuid, integer) to neurant_app;
alter function private.lease_requests(uuid, integer) owner to neurant_router;

reset role;
-- migrate:down
