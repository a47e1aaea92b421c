-- Limits of visitors: how much the web chat accepts from one address, network, session, bot or
-- company.

-- The generic cell rate algorithm (ITU-T I.371): one timestamp per key says how much of its
-- allowance is used.
create unlogged table public.visitor_allowances (
  key_digest bytea not null primary key check (octet_length(key_digest) = 32),
  used_until timestamptz not null
) with (fillfactor = 50);
comment on table public.visitor_allowances is
  'How much of each visitor limit is used, shared by all web processes. The key is the SHA-256 of action, dimension and value, so that no address is stored. A timestamp in the past means that the whole allowance is free. Unlogged: after a crash every allowance is free.';

alter table public.visitor_allowances enable row level security, force row level security;
create policy router_select on public.visitor_allowances for select to neurant_router using (true);
create policy router_insert on public.visitor_allowances for insert to neurant_router with check (true);
create policy router_update on public.visitor_allowances for update to neurant_router using (true) with check (true);
create policy router_delete on public.visitor_allowances for delete to neurant_router using (true);
grant select, insert, delete on public.visitor_allowances to neurant_router;
grant update (used_until) on public.visitor_allowances to neurant_router;

create unlogged table public.visitor_proofs (
  proof_digest bytea not null primary key check (octet_length(proof_digest) = 32),
  expires_at timestamptz not null
);
comment on table public.visitor_proofs is
  'Proofs of work that opened a session, stored until their challenge expires, so that none is used twice.';

alter table public.visitor_proofs enable row level security, force row level security;
create policy router_select on public.visitor_proofs for select to neurant_router using (true);
create policy router_insert on public.visitor_proofs for insert to neurant_router with check (true);
create policy router_delete on public.visitor_proofs for delete to neurant_router using (true);
grant select, insert, delete on public.visitor_proofs to neurant_router;

create unlogged table public.visitor_processes (
  id uuid not null primary key,
  alive_until timestamptz not null
);
comment on table public.visitor_processes is
  'Web processes that hold streams of visitors. The streams of a process that does not renew alive_until are no longer counted.';

alter table public.visitor_processes enable row level security, force row level security;
create policy router_select on public.visitor_processes for select to neurant_router using (true);
create policy router_insert on public.visitor_processes for insert to neurant_router with check (true);
create policy router_update on public.visitor_processes for update to neurant_router using (true) with check (true);
create policy router_delete on public.visitor_processes for delete to neurant_router using (true);
grant select, insert, delete on public.visitor_processes to neurant_router;
grant update (alive_until) on public.visitor_processes to neurant_router;

create unlogged table public.visitor_streams (
  key_digest bytea not null check (octet_length(key_digest) = 32),
  process_id uuid not null,
  open_streams integer not null check (open_streams > 0),
  primary key (key_digest, process_id)
);
comment on table public.visitor_streams is
  'The number of streams that a web process holds open for an address, network, session, bot or company (key_digest as in visitor_allowances).';
create index visitor_streams_process_idx on public.visitor_streams (process_id);

alter table public.visitor_streams enable row level security, force row level security;
create policy router_select on public.visitor_streams for select to neurant_router using (true);
create policy router_insert on public.visitor_streams for insert to neurant_router with check (true);
create policy router_update on public.visitor_streams for update to neurant_router using (true) with check (true);
create policy router_delete on public.visitor_streams for delete to neurant_router using (true);
grant select, insert, delete on public.visitor_streams to neurant_router;
grant update (open_streams) on public.visitor_streams to neurant_router;

create function private.visitor_limits(p_action text)
returns table (dimension text, place integer, most double precision, refill double precision, calm double precision)
language sql immutable set search_path = '' as $$
  select l.dimension, l.place, l.most, l.refill, l.calm
  from (values
    ('open', 'address', 1, 400, 0.2, 220),
    ('open', 'network', 2, 1500, 1, 700),
    ('open', 'bot', 4, 6000, 5, 2500),
    ('open', 'company', 5, 10000, 10, 4000),
    ('message', 'address', 1, 400, 5, null),
    ('message', 'network', 2, 1500, 20, null),
    ('message', 'session', 3, 30, 0.15, null),
    ('message', 'bot', 4, 3000, 50, null),
    ('message', 'company', 5, 6000, 100, null),
    ('listen', 'address', 1, 1000, 10, null),
    ('listen', 'network', 2, 4000, 40, null),
    ('listen', 'session', 3, 60, 1, null),
    ('listen', 'bot', 4, 10000, 100, null),
    ('listen', 'company', 5, 20000, 200, null),
    ('stream', 'address', 1, 500, null, null),
    ('stream', 'network', 2, 2000, null, null),
    ('stream', 'session', 3, 10, null, null),
    ('stream', 'bot', 4, 5000, null, null),
    ('stream', 'company', 5, 10000, null, null)
  ) l (action, dimension, place, most, refill, calm)
  where l.action = p_action
$$;
comment on function private.visitor_limits(text) is
  'Returns the limits of visitors: the maximum at once (most), the amount that is restored each second (refill), and the use above which a session requires a proof of work (calm). A message costs 1, and 1 more for every 400 characters. For the action stream, most is the number of concurrent streams. Reasons for the numbers: docs/decisions/0013.';
grant execute on function private.visitor_limits(text) to neurant_router;

create function private.visitor_keys(p_action text, p_values text[])
returns table (key bytea, dimension text, place integer, most double precision, refill double precision, calm double precision)
language sql immutable set search_path = '' as $$
  select sha256(convert_to(concat_ws('|', p_action, l.dimension, v.value), 'UTF8')),
    l.dimension, l.place, l.most, l.refill, l.calm
  from private.visitor_limits(p_action) l
  join unnest(p_values) with ordinality v (value, place) on v.place = l.place
  where v.value is not null
$$;
comment on function private.visitor_keys(text, text[]) is
  'Returns the keys that a visitor''s action counts against. p_values: address, network, session, bot, company; null if unknown.';
grant execute on function private.visitor_keys(text, text[]) to neurant_router;

create function private.take_visitor_allowance(
  p_action text, p_cost double precision, p_values text[], p_is_proven boolean,
  out outcome text, out held_by text, out wait_seconds double precision, out held_for double precision)
language plpgsql volatile set search_path = '' as $$
declare
  v_now timestamptz;
begin
  outcome := 'taken';
  wait_seconds := 0;
  held_for := 0;
  -- Every process locks in the order of the keys, so no two processes wait for each other.
  perform from public.visitor_allowances a
  where a.key_digest in (select k.key from private.visitor_keys(p_action, p_values) k)
  order by a.key_digest for update;
  v_now := clock_timestamp();
  select case when u.used + p_cost > u.most then 'wait' else 'proof' end, u.dimension,
    (u.used + p_cost - case when u.used + p_cost > u.most then u.most else u.calm end) / u.refill,
    greatest((u.used + 1 - case when u.used + p_cost > u.most then u.most else u.calm end) / u.refill, 0)
  into outcome, held_by, wait_seconds, held_for
  from (
    select k.dimension, k.most, k.refill, k.calm,
      coalesce(greatest(extract(epoch from a.used_until - v_now), 0), 0) * k.refill as used
    from private.visitor_keys(p_action, p_values) k
    left join public.visitor_allowances a on a.key_digest = k.key) u
  where u.used + p_cost > u.most or (not p_is_proven and u.used + p_cost > u.calm)
  order by u.used + p_cost > u.most desc, 3 desc
  limit 1;
  if found then
    return;
  end if;
  outcome := 'taken';
  wait_seconds := 0;
  held_for := 0;
  insert into public.visitor_allowances as a (key_digest, used_until)
  select k.key, v_now + p_cost / k.refill * interval '1 second'
  from private.visitor_keys(p_action, p_values) k
  order by k.key
  on conflict (key_digest) do update
  set used_until = greatest(a.used_until, v_now) + (excluded.used_until - v_now);
end $$;
comment on function private.take_visitor_allowance(text, double precision, text[], boolean) is
  'Takes p_cost from every allowance of the action, or from none. outcome: taken, wait (possible after wait_seconds) or proof (only a visitor with p_is_proven may continue). held_by: the dimension that refused; held_for: seconds until it has room for a cost of 1.';
grant execute on function private.take_visitor_allowance(text, double precision, text[], boolean)
  to neurant_router;

create function private.open_visitor_stream(p_process uuid, p_routing_id text, p_token_digest bytea,
  p_address text, p_network text)
returns table (outcome text, held_by text, wait_seconds double precision, held_for double precision, company_id uuid, keys bytea[])
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_admitted record;
  v_values text[];
  v_key record;
  v_full text;
begin
  select * into v_admitted from private.admit_visitor('listen', p_routing_id, p_token_digest, 1,
    p_address, p_network);
  if v_admitted.outcome <> 'taken' then
    return query select v_admitted.outcome, v_admitted.held_by, v_admitted.wait_seconds,
      v_admitted.held_for, null::uuid, null::bytea[];
    return;
  end if;
  insert into public.visitor_processes as p (id, alive_until)
  values (p_process, clock_timestamp() + interval '60 seconds')
  on conflict (id) do update set alive_until = excluded.alive_until
  where p.alive_until < excluded.alive_until - interval '10 seconds';
  select array[p_address, p_network, v.id::text, v.channel_account_id::text, v.company_id::text]
  into v_values
  from public.visitor_sessions v
  where v.token_digest = p_token_digest;
  for v_key in select k.* from private.visitor_keys('stream', v_values) k order by k.key loop
    perform pg_advisory_xact_lock(hashtextextended(encode(v_key.key, 'hex'), 0));
  end loop;
  select k.dimension into v_full
  from private.visitor_keys('stream', v_values) k
  where k.most <= (
    select coalesce(sum(s.open_streams), 0)
    from public.visitor_streams s
    join public.visitor_processes p on p.id = s.process_id and p.alive_until > clock_timestamp()
    where s.key_digest = k.key)
  order by k.place
  limit 1;
  if v_full is not null then
    return query select 'wait', v_full, 30::double precision, 0::double precision, null::uuid, null::bytea[];
    return;
  end if;
  insert into public.visitor_streams as s (key_digest, process_id, open_streams)
  select k.key, p_process, 1 from private.visitor_keys('stream', v_values) k
  on conflict (key_digest, process_id) do update set open_streams = s.open_streams + 1;
  return query select 'opened', null::text, 0::double precision, 0::double precision,
    v_admitted.company_id,
    (select array_agg(k.key order by k.key) from private.visitor_keys('stream', v_values) k);
end $$;
comment on function private.open_visitor_stream(uuid, text, bytea, text, text) is
  'Counts a stream that a visitor opens. Outcome: opened (with the keys to return later), unknown or wait. Security definer, called by the web process, because visitors may not read or write the limits.';
grant execute on function private.open_visitor_stream(uuid, text, bytea, text, text) to
  neurant_app;

create function private.close_visitor_streams(p_process uuid, p_keys bytea[], p_counts integer[])
returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_closed record;
begin
  for v_closed in
    select c.key, c.streams from unnest(p_keys, p_counts) c (key, streams) order by c.key
  loop
    delete from public.visitor_streams s
    where s.key_digest = v_closed.key and s.process_id = p_process
      and s.open_streams <= v_closed.streams;
    update public.visitor_streams s set open_streams = s.open_streams - v_closed.streams
    where s.key_digest = v_closed.key and s.process_id = p_process
      and s.open_streams > v_closed.streams;
  end loop;
end $$;
comment on function private.close_visitor_streams(uuid, bytea[], integer[]) is
  'Removes ended streams of a web process from the count; p_counts holds the number for each key. Security definer, called by the web process, because visitors may not read or write the limits.';
grant execute on function private.close_visitor_streams(uuid, bytea[], integer[]) to neurant_app;

create function private.keep_visitor_process(p_process uuid, p_keys bytea[], p_counts integer[])
returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_is_known boolean;
begin
  update public.visitor_processes p set alive_until = clock_timestamp() + interval '60 seconds'
  where p.id = p_process;
  v_is_known := found;
  if not v_is_known and p_keys is not null then
    insert into public.visitor_processes (id, alive_until)
    values (p_process, clock_timestamp() + interval '60 seconds')
    on conflict do nothing;
    insert into public.visitor_streams as s (key_digest, process_id, open_streams)
    select k.key, p_process, k.streams from unnest(p_keys, p_counts) k (key, streams)
    on conflict (key_digest, process_id) do update set open_streams = excluded.open_streams;
  end if;
  return v_is_known;
end $$;
comment on function private.keep_visitor_process(uuid, bytea[], integer[]) is
  'Marks a web process as alive for a minute; returns false if the database had no row of it. With keys and counts it inserts the missing row again, with the streams that the process holds. Security definer, called by the web process, because visitors may not read or write the limits.';
grant execute on function private.keep_visitor_process(uuid, bytea[], integer[]) to neurant_app;

create function private.end_visitor_process(p_process uuid) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.visitor_streams s where s.process_id = p_process;
  delete from public.visitor_processes p where p.id = p_process;
$$;
comment on function private.end_visitor_process(uuid) is
  'Removes a web process that ends, with its streams. Security definer, called by the web process, because visitors may not read or write the limits.';
grant execute on function private.end_visitor_process(uuid) to neurant_app;

create function private.forget_visitor_limits() returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_gone integer;
  v_all integer := 0;
begin
  delete from public.visitor_allowances a
  where a.ctid = any (array(
    select b.ctid from public.visitor_allowances b where b.used_until < now() for update skip locked));
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.visitor_proofs p where p.expires_at < now();
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  -- A minute after a process was last heard of, so that a slow one finds its streams again.
  delete from public.visitor_processes p where p.alive_until < now() - interval '1 minute';
  delete from public.visitor_streams s
  where not exists (select from public.visitor_processes p where p.id = s.process_id);
  get diagnostics v_gone = row_count;
  return v_all + v_gone;
end $$;
comment on function private.forget_visitor_limits() is
  'Deletes allowances that are entirely free, expired challenges and streams of processes that died; returns the number of rows. Security definer, called by the worker process, because these rows belong to no company.';
grant execute on function private.forget_visitor_limits() to neurant_jobs;

create function private.visitor_shares(p_company uuid, p_address text, p_network text)
returns table (dimension text, answers double precision, conversations integer,
  answers_key text, conversations_key text)
language sql stable set search_path = '' as $$
  select s.dimension,
    case when c.monthly_message_limit <> -1
      then greatest(30, c.monthly_message_limit * s.of_answers) end,
    greatest(s.fewest,
      floor(coalesce(c.visitor_conversations_per_hour, p.visitor_conversations_per_hour)
        * s.of_conversations))::integer,
    concat_ws('|', 'answers', s.dimension, s.value, c.id),
    concat_ws('|', 'conversations', s.dimension, s.value, c.id)
  from public.companies c
  join public.plans p on p.plan = c.subscription_plan
  cross join (values
    ('address', p_address, 0.1, 0.25, 3),
    ('network', p_network, 0.25, 0.5, 6)
  ) s (dimension, value, of_answers, of_conversations, fewest)
  where c.id = p_company
$$;
comment on function private.visitor_shares(uuid, text, text) is
  'Returns the shares of a company that a visitor''s address and network may take: bot answers at once, restored within a day (null: the plan is unlimited), and new conversations in any hour. Reasons for the numbers: docs/decisions/0013.';
grant execute on function private.visitor_shares(uuid, text, text) to neurant_router;

create function private.visitor_answer_keys(p_company uuid, p_address text, p_network text)
returns table (key bytea, dimension text, most double precision, refill double precision)
language sql stable set search_path = '' as $$
  select sha256(convert_to(s.answers_key, 'UTF8')), s.dimension, s.answers, s.answers / 86400
  from private.visitor_shares(p_company, p_address, p_network) s
  where s.answers is not null
$$;
comment on function private.visitor_answer_keys(uuid, text, text) is
  'Returns the keys in visitor_allowances of a visitor''s shares of bot answers, with the maximum at once and the amount restored each second.';
grant execute on function private.visitor_answer_keys(uuid, text, text) to neurant_router;

create function private.visitor_answer_wait(p_company uuid, p_address text, p_network text,
  p_now timestamptz, out held_by text, out wait_seconds double precision)
language sql stable set search_path = '' as $$
  select u.dimension, (u.used + 1 - u.most) / u.refill
  from (
    select k.dimension, k.most, k.refill,
      coalesce(greatest(extract(epoch from a.used_until - p_now), 0), 0) * k.refill as used
    from private.visitor_answer_keys(p_company, p_address, p_network) k
    left join public.visitor_allowances a on a.key_digest = k.key) u
  where u.used + 1 > u.most
  order by 2 desc
  limit 1
$$;
comment on function private.visitor_answer_wait(uuid, text, text, timestamptz) is
  'Returns the share of bot answers that is used up and the seconds until it has room for one more; null if there is room.';
grant execute on function private.visitor_answer_wait(uuid, text, text, timestamptz) to
  neurant_router;

create function private.take_visitor_answer(p_company uuid, p_address text, p_network text,
  p_now timestamptz) returns void
language sql volatile set search_path = '' as $$
  insert into public.visitor_allowances as a (key_digest, used_until)
  select k.key, p_now + interval '1 second' / k.refill
  from private.visitor_answer_keys(p_company, p_address, p_network) k
  order by k.key
  on conflict (key_digest) do update
  set used_until = greatest(a.used_until, p_now) + (excluded.used_until - p_now)
$$;
comment on function private.take_visitor_answer(uuid, text, text, timestamptz) is
  'Counts one bot answer for the shares of a visitor''s address and network.';
grant execute on function private.take_visitor_answer(uuid, text, text, timestamptz) to
  neurant_router;
