-- migrate:up
-- How many console pages a company may open a minute, for all web processes together: as many as
-- requests of the API, counted apart, so that a busy program never locks people out of the console.
set local role neurant_owner;

alter table public.request_allowances
  add column page_tokens double precision,
  add column page_refilled_at timestamptz;
comment on column public.request_allowances.page_tokens is
  'The bucket of the console''s pages. Null: no page was opened yet, the bucket is full.';
grant update (page_tokens, page_refilled_at) on public.request_allowances to neurant_router;

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
  'Takes up to a share of a company''s console pages of this minute for one web process: how many it got, how many are left for all, and seconds until there is one (0: it got some). Definer: the web process asks before it knows what the reader may do, and nobody may write the bucket by hand.';
grant execute on function private.lease_page_requests(uuid, integer) to neurant_app;
alter function private.lease_page_requests(uuid, integer) owner to neurant_router;

reset role;
-- migrate:down
