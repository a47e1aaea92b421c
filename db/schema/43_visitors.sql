-- Visitors of the web chat.

create table public.visitor_sessions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  channel_account_id uuid not null,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  conversation_at timestamptz,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id)
);
comment on table public.visitor_sessions is
  'A visitor of a web chat. Only the digest of the token is stored; the id is the end_user_id.';
comment on column public.visitor_sessions.conversation_at is
  'When this visitor''s newest conversation was counted for the company''s number an hour.';
create index visitor_sessions_account_idx on public.visitor_sessions (company_id, channel_account_id);
-- Finds the visitors' conversations that count for a company's hour.
create index visitor_sessions_conversation_idx on public.visitor_sessions (company_id, conversation_at) where conversation_at is not null;

alter table public.visitor_sessions enable row level security, force row level security;
create policy router_select on public.visitor_sessions for select to neurant_router using (true);
create policy router_insert on public.visitor_sessions for insert to neurant_router with check (true);
create policy router_update on public.visitor_sessions for update to neurant_router
  using (true) with check (true);
create policy router_delete on public.visitor_sessions for delete to neurant_router using (true);
grant select, insert, delete on public.visitor_sessions to neurant_router;
grant update (conversation_at) on public.visitor_sessions to neurant_router;

create function private.open_visitor_session(
  p_routing_id text, p_token_digest bytea, p_lifetime interval)
returns timestamptz
language sql volatile security definer set search_path = '' as $$
  insert into public.visitor_sessions (company_id, channel_account_id, token_digest, expires_at)
  select a.company_id, a.id, p_token_digest, now() + p_lifetime
  from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  where a.routing_id = p_routing_id and a.channel = 'web' and a.status = 'connected'
  returning expires_at
$$;
comment on function private.open_visitor_session(text, bytea, interval) is
  'Creates a visitor of a web chat; returns null for an unknown or closed chat. Security definer, called by the web process, because the visitor is not a principal yet.';
grant execute on function private.open_visitor_session(text, bytea, interval) to neurant_app;

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
  'Opens a session of a web chat within the limits of visitors. Outcome: opened, unknown (no such chat, or a closed one), wait, proof (a proof of work is required) or proof_used. p_proof: digest of a challenge whose solution the process verified. Security definer, called by the web process, because the visitor is not a principal yet.';
grant execute on function private.open_visitor(text, bytea, interval, text, text, bytea,
  timestamptz) to neurant_app;

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
  'Counts a new conversation of a visitor for the company''s number an hour. Returns 0, or the seconds until there is room. Each session is counted at most once an hour.';
grant execute on function private.begin_visitor_conversation(uuid, uuid, timestamptz) to
  neurant_router;

create function private.admit_visitor(p_action text, p_routing_id text, p_token_digest bytea,
  p_cost double precision, p_address text, p_network text)
returns table (outcome text, held_by text, wait_seconds double precision, held_for double precision, company_id uuid)
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_session record;
  v_taken record;
  v_message record;
begin
  select v.company_id, v.id, v.channel_account_id into v_session
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
  if v_taken.outcome = 'taken' and p_action = 'message' then
    v_message := private.admit_visitor_message(v_session.company_id, v_session.channel_account_id,
      v_session.id, p_address, p_network);
    if v_message.outcome <> 'taken' then
      v_taken.outcome := v_message.outcome;
      v_taken.held_by := v_message.held_by;
      v_taken.wait_seconds := v_message.wait_seconds;
    end if;
  end if;
  return query select v_taken.outcome, v_taken.held_by, v_taken.wait_seconds, v_taken.held_for,
    v_session.company_id;
end $$;
comment on function private.admit_visitor(text, text, bytea, double precision, text, text) is
  'Counts an action of a visitor (message, opinion or listen) against the limits of visitors. Outcome: taken, unknown (no such session; the address was counted), wait, or, for a message, share or full (see private.admit_visitor_message). Security definer, called by the web process, because visitors may not read or write the limits.';
grant execute on function private.admit_visitor(text, text, bytea, double precision, text, text)
  to neurant_app;

create function private.visitor_conversation_share(p_company uuid, p_address text, p_network text,
  p_now timestamptz, out slots bytea[], out held_by text, out wait_seconds double precision)
language plpgsql volatile set search_path = '' as $$
declare
  v_share record;
  v_slot bytea;
begin
  -- A share of n conversations an hour has n slots. A conversation occupies one for an hour.
  for v_share in
    select s.dimension, s.conversations, s.conversations_key
    from private.visitor_shares(p_company, p_address, p_network) s
    order by s.dimension
  loop
    -- A row for each slot by the primary key; the search ends at the first free slot.
    select k.key into v_slot
    from (
      select sha256(convert_to(v_share.conversations_key || '|' || n, 'UTF8')) as key
      from generate_series(1, v_share.conversations) n) k
    where not exists (
      select from public.visitor_allowances a where a.key_digest = k.key and a.used_until > p_now)
    limit 1;
    if not found then
      held_by := v_share.dimension;
      select extract(epoch from min(a.used_until) - p_now) into wait_seconds
      from generate_series(1, v_share.conversations) n
      join public.visitor_allowances a
        on a.key_digest = sha256(convert_to(v_share.conversations_key || '|' || n, 'UTF8'));
      return;
    end if;
    slots := slots || v_slot;
  end loop;
end $$;
comment on function private.visitor_conversation_share(uuid, text, text, timestamptz) is
  'Returns a free slot in each share of new conversations of a visitor''s address and network, or the share that has none (held_by) and the seconds until it has one.';
grant execute on function private.visitor_conversation_share(uuid, text, text, timestamptz) to
  neurant_router;

-- The caller holds the lock on the company's message allowance, so that its visitors are counted
-- one after another.
create function private.admit_visitor_message(p_company uuid, p_account uuid, p_session uuid,
  p_address text, p_network text,
  out outcome text, out held_by text, out wait_seconds double precision)
language plpgsql volatile set search_path = '' as $$
declare
  v_now timestamptz := clock_timestamp();
  v_with_person boolean;
  v_share record;
begin
  select c.is_hitl_active into v_with_person
  from public.conversations c
  where c.company_id = p_company and c.channel_account_id = p_account
    and c.end_user_id = p_session::text and c.status = 'active';
  -- A person's answers cost nothing of the month.
  if v_with_person then
    outcome := 'taken';
    return;
  end if;
  select w.held_by, w.wait_seconds into held_by, wait_seconds
  from private.visitor_answer_wait(p_company, p_address, p_network, v_now) w;
  if held_by is not null then
    outcome := 'share';
    return;
  end if;
  -- Read here, behind the lock: another message of this session may have begun a conversation.
  if v_with_person is null and not exists (
    select from public.visitor_sessions v
    where v.company_id = p_company and v.id = p_session
      and v.conversation_at > v_now - interval '1 hour')
  then
    v_share := private.visitor_conversation_share(p_company, p_address, p_network, v_now);
    if v_share.held_by is not null then
      outcome := 'share';
      held_by := v_share.held_by;
      wait_seconds := v_share.wait_seconds;
      return;
    end if;
    wait_seconds := private.begin_visitor_conversation(p_company, p_session, v_now);
    if wait_seconds > 0 then
      outcome := 'full';
      return;
    end if;
    insert into public.visitor_allowances as a (key_digest, used_until)
    select s.key, v_now + interval '1 hour' from unnest(v_share.slots) s (key) order by s.key
    on conflict (key_digest) do update set used_until = excluded.used_until;
  end if;
  perform private.take_visitor_answer(p_company, p_address, p_network, v_now);
  outcome := 'taken';
end $$;
comment on function private.admit_visitor_message(uuid, uuid, uuid, text, text) is
  'Counts a visitor''s message against the shares and the number of the company. Outcome: taken, share (the address or network, held_by, used up its share of the bot answers or of the new conversations) or full (the company takes no more new conversations in this hour). A refused message takes nothing.';
grant execute on function private.admit_visitor_message(uuid, uuid, uuid, text, text)
  to neurant_router;
