-- migrate:up
-- What visitors of web chats may do: limits by address, network, session, bot and company.
set local role neurant_owner;

alter table public.plans add column visitor_conversations_per_hour integer not null default 60
  check (visitor_conversations_per_hour > 0);
comment on column public.plans.visitor_conversations_per_hour is
  'How many new conversations of web chat visitors a company takes in an hour, unless it has its own number.';
alter table public.companies add column visitor_conversations_per_hour integer;
alter table public.companies add constraint companies_visitor_conversations_check
  check (visitor_conversations_per_hour between 1 and 100000) not valid;
comment on column public.companies.visitor_conversations_per_hour is
  'How many new conversations of web chat visitors the company takes in an hour. Null: the number of its plan.';
grant update (visitor_conversations_per_hour) on public.companies to authenticated;
select private.audit_column('public.companies', 'visitor_conversations_per_hour', 'shown');

alter table public.visitor_sessions add column conversation_at timestamptz;
comment on column public.visitor_sessions.conversation_at is
  'When this visitor''s newest conversation was counted for the company''s number an hour.';
create policy router_update on public.visitor_sessions for update to neurant_router
  using (true) with check (true);
grant update (conversation_at) on public.visitor_sessions to neurant_router;

-- The generic cell rate algorithm (ITU-T I.371): one moment a key says how much of it is used.
create unlogged table public.visitor_allowances (
  key_digest bytea not null primary key check (octet_length(key_digest) = 32),
  used_until timestamptz not null
) with (fillfactor = 50);
comment on table public.visitor_allowances is
  'How much of a visitor limit is used, for all web processes together. The key is the SHA-256 of action, dimension and value, so that no address is kept. A row in the past means that the whole allowance is free. Unlogged: after a crash of the database every allowance is free.';

create unlogged table public.visitor_proofs (
  proof_digest bytea not null primary key check (octet_length(proof_digest) = 32),
  expires_at timestamptz not null
);
comment on table public.visitor_proofs is
  'Proofs of work that opened a session, until their challenge expires, so that none is used twice.';

create unlogged table public.visitor_processes (
  id uuid not null primary key,
  alive_until timestamptz not null
);
comment on table public.visitor_processes is
  'Web processes that hold streams of visitors. The streams of a process that does not renew its moment are not counted any more.';

create unlogged table public.visitor_streams (
  key_digest bytea not null check (octet_length(key_digest) = 32),
  process_id uuid not null,
  open_streams integer not null check (open_streams > 0),
  primary key (key_digest, process_id)
);
comment on table public.visitor_streams is
  'How many streams a web process holds open for an address, network, session, bot or company (key_digest as in visitor_allowances).';
create index visitor_streams_process_idx on public.visitor_streams (process_id);

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
  'The limits of visitors: at most this much at once (most), so much comes back each second (refill), and beyond calm a session is opened for a proof of work only. A message costs 1 and 1 more for every 400 characters. stream: how many are open at the same time. The reasons for the numbers: docs/decisions/0013.';

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
  'The keys that a visitor''s action counts against. p_values: address, network, session, bot, company; null where it is not known.';

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
  'Takes p_cost from every allowance of the action, or from none. outcome: taken, wait (wait_seconds until it is possible) or proof (only p_is_proven goes on). held_by: the dimension that refused; held_for: seconds until it has room for a cost of 1.';

create function private.open_visitor(p_routing_id text, p_token_digest bytea, p_lifetime interval,
  p_address text, p_network text, p_proof bytea, p_proof_until timestamptz)
returns table (outcome text, expires_at timestamptz, held_by text, wait_seconds double precision, held_for double precision)
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_account record;
  v_taken record;
begin
  select a.company_id, a.id into v_account
  from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  where a.routing_id = p_routing_id and a.channel = 'web' and a.status = 'connected';
  if p_proof is not null then
    insert into public.visitor_proofs (proof_digest, expires_at) values (p_proof, p_proof_until)
    on conflict do nothing;
    if not found then
      return query select 'proof_used', null::timestamptz, null::text, 0::double precision, 0::double precision;
      return;
    end if;
  end if;
  v_taken := private.take_visitor_allowance('open', 1,
    array[p_address, p_network, null, v_account.id::text, v_account.company_id::text],
    p_proof is not null);
  if v_taken.outcome <> 'taken' then
    -- A proof that opened nothing may be used when there is room.
    delete from public.visitor_proofs p where p.proof_digest = p_proof;
    return query select v_taken.outcome, null::timestamptz, v_taken.held_by, v_taken.wait_seconds,
      v_taken.held_for;
    return;
  end if;
  if v_account.id is null then
    return query select 'unknown', null::timestamptz, null::text, 0::double precision, 0::double precision;
    return;
  end if;
  return query
  insert into public.visitor_sessions as v (company_id, channel_account_id, token_digest, expires_at)
  values (v_account.company_id, v_account.id, p_token_digest, now() + p_lifetime)
  returning 'opened', v.expires_at, null::text, 0::double precision, 0::double precision;
end $$;
comment on function private.open_visitor(text, bytea, interval, text, text, bytea, timestamptz) is
  'Opens a session of a web chat within the limits of visitors: opened, unknown (no such chat, or a closed one), wait, proof (a proof of work is asked for) or proof_used. p_proof: digest of a challenge whose solution the process verified. Definer: the visitor is nobody yet.';

create function private.begin_visitor_conversation(p_company uuid, p_session uuid, p_now timestamptz)
returns double precision
language plpgsql volatile set search_path = '' as $$
declare
  v_most integer;
  v_oldest timestamptz;
begin
  -- One after another within a company, so that the number is exact over all processes.
  perform pg_advisory_xact_lock(hashtextextended('visitor conversations ' || p_company, 0));
  select coalesce(c.visitor_conversations_per_hour, p.visitor_conversations_per_hour) into v_most
  from public.companies c
  join public.plans p on p.plan = c.subscription_plan
  where c.id = p_company;
  select v.conversation_at into v_oldest
  from public.visitor_sessions v
  where v.company_id = p_company and v.conversation_at > p_now - interval '1 hour'
  order by v.conversation_at desc
  offset v_most - 1 limit 1;
  if v_oldest is null then
    update public.visitor_sessions v set conversation_at = p_now
    where v.company_id = p_company and v.id = p_session;
    return 0;
  end if;
  -- Owner and administradores hear of it once an hour at most.
  insert into public.visitor_allowances as a (key_digest, used_until)
  values (sha256(convert_to('told|company|' || p_company, 'UTF8')), p_now + interval '1 hour')
  on conflict (key_digest) do update set used_until = excluded.used_until
  where a.used_until <= p_now;
  if found then
    perform private.notify_users(p_company, '{owner,administrador}', 'visitors_full',
      jsonb_build_object('number', v_most));
  end if;
  return extract(epoch from v_oldest + interval '1 hour' - p_now);
end $$;
comment on function private.begin_visitor_conversation(uuid, uuid, timestamptz) is
  'Counts a new conversation of a visitor for the company''s number an hour: 0, or the seconds until there is room. Each session is counted once an hour.';

create function private.admit_visitor(p_action text, p_routing_id text, p_token_digest bytea,
  p_cost double precision, p_address text, p_network text)
returns table (outcome text, held_by text, wait_seconds double precision, held_for double precision, company_id uuid)
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_session record;
  v_taken record;
  v_wait double precision;
  v_now timestamptz;
begin
  select v.company_id, v.id, v.channel_account_id, v.conversation_at into v_session
  from public.visitor_sessions v
  join public.channel_accounts a on a.company_id = v.company_id and a.id = v.channel_account_id
    and a.routing_id = p_routing_id and a.status = 'connected'
  join public.companies c on c.id = v.company_id and c.subscription_status <> 'cancelled'
  where v.token_digest = p_token_digest and v.expires_at > now();
  v_taken := private.take_visitor_allowance(case p_action when 'opinion' then 'message' else p_action end,
    p_cost, array[p_address, p_network, v_session.id::text, v_session.channel_account_id::text,
      v_session.company_id::text], true);
  if v_taken.outcome = 'taken' and v_session.id is null then
    v_taken.outcome := 'unknown';
  end if;
  v_now := clock_timestamp();
  if v_taken.outcome = 'taken' and p_action = 'message'
    and (v_session.conversation_at is null or v_session.conversation_at <= v_now - interval '1 hour')
    and not exists (
      select from public.conversations c
      where c.company_id = v_session.company_id and c.channel_account_id = v_session.channel_account_id
        and c.end_user_id = v_session.id::text and c.status = 'active')
  then
    v_wait := private.begin_visitor_conversation(v_session.company_id, v_session.id, v_now);
    if v_wait > 0 then
      v_taken.outcome := 'full';
      v_taken.wait_seconds := v_wait;
    end if;
  end if;
  return query select v_taken.outcome, v_taken.held_by, v_taken.wait_seconds, v_taken.held_for,
    v_session.company_id;
end $$;
comment on function private.admit_visitor(text, text, bytea, double precision, text, text) is
  'Counts what a visitor does (message, opinion or listen) against the limits of visitors: taken, unknown (no such session; the address was counted), wait, or full (the company takes no more new conversations in this hour; nothing was begun). Definer: a visitor may read none of it.';

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
  'Counts a stream that a visitor opens: opened (with the keys to give back), unknown or wait. Definer, as admit_visitor.';

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
  'Gives back streams of a web process that have ended: how many of each key. Definer, as admit_visitor.';

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
  'Says that a web process lives, for a minute; false where the database had forgotten it. With keys and counts a forgotten process is entered anew, with the streams that it holds. Definer, as admit_visitor.';

create function private.end_visitor_process(p_process uuid) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.visitor_streams s where s.process_id = p_process;
  delete from public.visitor_processes p where p.id = p_process;
$$;
comment on function private.end_visitor_process(uuid) is
  'A web process ends: its streams are closed. Definer, as admit_visitor.';

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
  'Forgets allowances that are free again, challenges that have expired and streams of processes that died; how many rows. Definer: they are no company''s.';

alter table public.visitor_allowances enable row level security, force row level security;
alter table public.visitor_proofs enable row level security, force row level security;
alter table public.visitor_processes enable row level security, force row level security;
alter table public.visitor_streams enable row level security, force row level security;
create policy router_select on public.visitor_allowances for select to neurant_router using (true);
create policy router_insert on public.visitor_allowances for insert to neurant_router with check (true);
create policy router_update on public.visitor_allowances for update to neurant_router using (true) with check (true);
create policy router_delete on public.visitor_allowances for delete to neurant_router using (true);
create policy router_select on public.visitor_proofs for select to neurant_router using (true);
create policy router_insert on public.visitor_proofs for insert to neurant_router with check (true);
create policy router_delete on public.visitor_proofs for delete to neurant_router using (true);
create policy router_select on public.visitor_processes for select to neurant_router using (true);
create policy router_insert on public.visitor_processes for insert to neurant_router with check (true);
create policy router_update on public.visitor_processes for update to neurant_router using (true) with check (true);
create policy router_delete on public.visitor_processes for delete to neurant_router using (true);
create policy router_select on public.visitor_streams for select to neurant_router using (true);
create policy router_insert on public.visitor_streams for insert to neurant_router with check (true);
create policy router_update on public.visitor_streams for update to neurant_router using (true) with check (true);
create policy router_delete on public.visitor_streams for delete to neurant_router using (true);
grant select, insert, delete, update (used_until) on public.visitor_allowances to neurant_router;
grant select, insert, delete on public.visitor_proofs to neurant_router;
grant select, insert, delete, update (alive_until) on public.visitor_processes to neurant_router;
grant select, insert, delete, update (open_streams) on public.visitor_streams to neurant_router;

grant execute on function private.visitor_limits(text), private.visitor_keys(text, text[]),
  private.take_visitor_allowance(text, double precision, text[], boolean),
  private.begin_visitor_conversation(uuid, uuid, timestamptz) to neurant_router;
grant execute on function
  private.open_visitor(text, bytea, interval, text, text, bytea, timestamptz),
  private.admit_visitor(text, text, bytea, double precision, text, text),
  private.open_visitor_stream(uuid, text, bytea, text, text),
  private.close_visitor_streams(uuid, bytea[], integer[]),
  private.keep_visitor_process(uuid, bytea[], integer[]),
  private.end_visitor_process(uuid) to neurant_app;
grant execute on function private.forget_visitor_limits() to neurant_jobs;
alter function private.open_visitor(text, bytea, interval, text, text, bytea, timestamptz) owner to neurant_router;
alter function private.admit_visitor(text, text, bytea, double precision, text, text) owner to neurant_router;
alter function private.open_visitor_stream(uuid, text, bytea, text, text) owner to neurant_router;
alter function private.close_visitor_streams(uuid, bytea[], integer[]) owner to neurant_router;
alter function private.keep_visitor_process(uuid, bytea[], integer[]) owner to neurant_router;
alter function private.end_visitor_process(uuid) owner to neurant_router;
alter function private.forget_visitor_limits() owner to neurant_router;

reset role;
update public.plans p set visitor_conversations_per_hour = n.number
from (values ('starter', 300), ('professional', 800), ('business', 2000), ('enterprise', 10000))
  as n (plan, number)
where p.plan = n.plan::public.subscription_plan_enum;
-- migrate:down
