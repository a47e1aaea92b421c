-- Replies and delivery: the two busiest queues.

create table public.reply_requests (
  company_id uuid not null,
  conversation_id uuid not null,
  wanted_seq bigint not null,
  requested_at timestamptz not null default now(),
  due_at timestamptz not null,
  attempts integer not null default 0,
  claim_token uuid,
  claimed_until timestamptz,
  last_error text,
  primary key (company_id, conversation_id),
  foreign key (company_id, conversation_id) references public.conversations (company_id, id)
);
comment on table public.reply_requests is
  'Replies that are owed. The key is the conversation, so a burst of messages requests one reply.';
create index reply_requests_due_idx on public.reply_requests (company_id, due_at);

alter table public.reply_requests enable row level security, force row level security;
create policy staff_select on public.reply_requests for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and exists (select from public.conversations c
      where c.company_id = reply_requests.company_id and c.id = reply_requests.conversation_id));
create policy visitor_select on public.reply_requests for select to visitor
  using (company_id = (select private.company_id())
    and conversation_id = (select private.visitor_conversation_id()));
create policy worker_select on public.reply_requests for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.reply_requests for select to neurant_router using (true);
create policy router_insert on public.reply_requests for insert to neurant_router with check (true);
create policy router_update on public.reply_requests for update to neurant_router using (true) with check (true);
create policy router_delete on public.reply_requests for delete to neurant_router using (true);
grant select on public.reply_requests to authenticated, neurant_worker;
grant select (company_id, conversation_id, wanted_seq) on public.reply_requests to visitor;
grant select, insert, update, delete on public.reply_requests to neurant_router;

create table public.outbox (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  message_id uuid not null,
  channel_account_id uuid not null,
  seq bigint not null,
  fence bigint,
  status text not null default 'pending'
    check (status in ('pending', 'sending', 'sent', 'failed', 'unknown', 'cancelled')),
  due_at timestamptz not null default now(),
  attempts integer not null default 0,
  claim_token uuid,
  claimed_until timestamptz,
  last_error text,
  sent_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, message_id),
  foreign key (company_id, conversation_id) references public.conversations (company_id, id),
  foreign key (company_id, message_id) references public.messages (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  check ((status = 'sending') = (claim_token is not null and claimed_until is not null))
);
comment on column public.outbox.fence is
  'The fence under which the bot wrote the message; compared again at claim. Null: a message of a person or the system, which is always sent.';
create index outbox_waiting_idx on public.outbox (company_id, due_at) where status in ('pending', 'sending');
create index outbox_order_idx on public.outbox (company_id, conversation_id, seq)
  where status in ('pending', 'sending');
create index outbox_conversation_idx on public.outbox (company_id, conversation_id);
create index outbox_account_idx on public.outbox (company_id, channel_account_id);

alter table public.outbox enable row level security, force row level security;
create policy staff_select on public.outbox for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and exists (select from public.conversations c
      where c.company_id = outbox.company_id and c.id = outbox.conversation_id));
create policy worker_select on public.outbox for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.outbox for select to neurant_router using (true);
create policy router_insert on public.outbox for insert to neurant_router with check (true);
create policy router_update on public.outbox for update to neurant_router using (true) with check (true);
create policy router_delete on public.outbox for delete to neurant_router using (true);
grant select on public.outbox to authenticated, neurant_worker;
grant select, insert, update, delete on public.outbox to neurant_router;

-- Customers of an inactive company may write, and get no replies.
-- A worker passes the most replies of one company that it makes at once (p_share), so that a
-- company with many replies leaves places for the replies of others.
create function private.claim_replies(
  p_limit integer, p_lease interval, p_share integer default null, p_running uuid[] default '{}')
returns table (company_id uuid, conversation_id uuid, wanted_seq bigint, claim_token uuid, attempts integer)
language sql volatile security definer set search_path = '' as $$
  with recursive company as (
    -- A loose index scan: one step per company that waits, however many requests each has.
    (select r.company_id from public.reply_requests r order by r.company_id limit 1)
    union all
    select (select r.company_id from public.reply_requests r
      where r.company_id > k.company_id order by r.company_id limit 1)
    from company k where k.company_id is not null
  ),
  waiting as (
    select w.company_id, w.conversation_id,
      w.turn + (select count(*) from public.reply_requests busy
        where busy.company_id = k.company_id and busy.claimed_until > now()) as turn,
      w.due_at
    from company k
    join public.companies c on c.id = k.company_id
      and c.subscription_status not in ('cancelled', 'inactive')
    cross join lateral (
      select r.company_id, r.conversation_id, r.due_at,
        row_number() over (order by r.due_at) as turn
      from public.reply_requests r
      where r.company_id = k.company_id and r.due_at <= now()
        and (r.claimed_until is null or r.claimed_until <= now())
      order by r.due_at limit p_limit) w
    where k.company_id is not null
      and (p_share is null or w.turn <= p_share - cardinality(array_positions(p_running, k.company_id)))
  ),
  chosen as (
    -- Every company's first before any company's second.
    select r.company_id, r.conversation_id
    from public.reply_requests r
    join waiting w on w.company_id = r.company_id and w.conversation_id = r.conversation_id
    where r.claimed_until is null or r.claimed_until <= now()
    order by w.turn, w.due_at
    limit p_limit
    for update of r skip locked
  )
  update public.reply_requests r
  set claim_token = gen_random_uuid(), claimed_until = now() + p_lease, attempts = r.attempts + 1
  from chosen
  where r.company_id = chosen.company_id and r.conversation_id = chosen.conversation_id
  returning r.company_id, r.conversation_id, r.wanted_seq, r.claim_token, r.attempts
$$;
comment on function private.claim_replies(integer, interval, integer, uuid[]) is
  'Leases replies that are owed, fairly across companies. p_share: the most replies of one company that a worker makes at once; p_running: the company of each reply that the worker makes now. Security definer, called by the worker process, because the queue holds all companies; it returns ids only.';
grant execute on function private.claim_replies(integer, interval, integer, uuid[]) to neurant_jobs;

create function private.finish_reply(
  p_conversation uuid, p_token uuid, p_fence bigint, p_read_seq bigint, p_action text,
  p_content text default null, p_sources jsonb default '[]', p_confidence numeric default null,
  p_model text default null, p_processing_ms integer default null,
  p_reason text default null, p_detail text default null, p_tokens integer default null)
returns table (outcome text, message_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_conversation public.conversations;
  v_request public.reply_requests;
  v_message uuid;
begin
  select c.* into v_conversation from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  select r.* into v_request from public.reply_requests r
  where r.company_id = v_company and r.conversation_id = p_conversation
    and r.claim_token = p_token for update;
  if v_request.conversation_id is null then
    return query select 'lost', null::uuid;  -- the lease ran out and somebody else has it, or did it
    return;
  end if;
  if v_request.wanted_seq > p_read_seq
    and (p_action = 'none' or v_request.requested_at > now() - interval '10 seconds')
    or v_conversation.fence <> p_fence and not v_conversation.is_hitl_active then
    -- More was said meanwhile, and one reply answers all of it; or somebody stepped in and out
    -- again: what is still unanswered is read anew.
    update public.reply_requests r
    set claim_token = null, claimed_until = null, attempts = 0, due_at = now()
    where r.company_id = v_company and r.conversation_id = p_conversation;
    return query select 'superseded', null::uuid;
    return;
  end if;
  if p_action <> 'none' and (v_conversation.fence <> p_fence or v_conversation.is_hitl_active) then
    p_action := 'none';
    outcome := 'fenced';
  end if;
  if p_action = 'escalate' then
    -- A takeover may be counted on the company's row, which comes before a message's slot.
    perform from public.companies k where k.id = v_company for no key update;
  end if;
  if p_action in ('answer', 'escalate') and p_content is not null then
    begin
      insert into public.messages (company_id, conversation_id, chatbot_id, channel_account_id,
        sender_type, content, knowledge_sources, used_knowledge_base, confidence_score, model_used,
        tokens_used, processing_time_ms)
      values (v_company, p_conversation, v_conversation.chatbot_id,
        v_conversation.channel_account_id, 'bot', p_content, p_sources, p_sources <> '[]',
        p_confidence, p_model, p_tokens, p_processing_ms)
      returning id into v_message;
    exception when sqlstate 'NA002' then
      p_action := 'limit';
    end;
  elsif p_action = 'notice' then
    v_message := private.give_notice(v_company, p_conversation, p_content);
  end if;
  if p_action = 'limit' then
    outcome := 'limited';
    v_message := private.tell_of_limit(v_company, p_conversation);
    p_reason := coalesce(p_reason, 'limit_reached');
  end if;
  if p_action = 'escalate' or p_action = 'limit' and exists (
    select from public.chatbots b
    where b.company_id = v_company and b.id = v_conversation.chatbot_id and b.hitl_enabled)
  then
    -- Said as part of the handover: the takeover that follows must not cancel it.
    update public.outbox o set fence = null
    where o.company_id = v_company and o.message_id = v_message;
    begin
      insert into public.hitl_sessions
        (company_id, conversation_id, chatbot_id, reason, reason_detail)
      values (v_company, p_conversation, v_conversation.chatbot_id, p_reason, p_detail);
    exception when sqlstate 'NA002' then
      -- All the people that the plan allows are taken: whoever asked for one is told so.
      if v_message is null and p_action = 'escalate' then
        v_message := private.give_notice(v_company, p_conversation, 'hitl_full');
      end if;
    end;
  end if;
  if v_request.wanted_seq > p_read_seq then
    update public.reply_requests r
    set claim_token = null, claimed_until = null, attempts = 0, due_at = now(), requested_at = now()
    where r.company_id = v_company and r.conversation_id = p_conversation;
  else
    delete from public.reply_requests r
    where r.company_id = v_company and r.conversation_id = p_conversation;
  end if;
  return query select coalesce(outcome, 'done'), v_message;
end $$;
comment on function private.finish_reply(uuid, uuid, bigint, bigint, text, text, jsonb, numeric, text, integer, text, text, integer) is
  'Writes the result of a reply (answer, escalate, notice, limit, none) if its lease and the conversation''s fence are still valid, and completes the request. It locks the conversation, so a person who takes it at the same time comes before or after. Outcome: done, limited (no bot messages left this month: the notice, and a person), fenced, superseded (more happened meanwhile: claim again) or lost. Security definer, called by the worker for one company, because no role may write senders, queues and takeovers directly.';
grant execute on function private.finish_reply(uuid, uuid, bigint, bigint, text, text, jsonb,
  numeric, text, integer, text, text, integer) to neurant_worker;

create function private.fail_reply(p_conversation uuid, p_token uuid, p_error text, p_retry_in interval)
returns boolean
language sql volatile security definer set search_path = '' as $$
  update public.reply_requests r
  set claim_token = null, claimed_until = null, last_error = p_error, due_at = now() + p_retry_in
  where r.company_id = (select private.company_id()) and r.conversation_id = p_conversation
    and r.claim_token = p_token
  returning true
$$;
comment on function private.fail_reply(uuid, uuid, text, interval) is
  'Returns a reply to the queue, to be retried later. Security definer, called by the worker for one company, because no role may write the queues directly.';
grant execute on function private.fail_reply(uuid, uuid, text, interval) to neurant_worker;

create function private.claim_outbox(p_limit integer, p_lease interval)
returns table (company_id uuid, outbox_id uuid, conversation_id uuid, claim_token uuid, outcome text)
language sql volatile security definer set search_path = '' as $$
  with recursive company as (
    (select o.company_id from public.outbox o where o.status in ('pending', 'sending')
      order by o.company_id limit 1)
    union all
    select (select o.company_id from public.outbox o
      where o.status in ('pending', 'sending') and o.company_id > k.company_id
      order by o.company_id limit 1)
    from company k where k.company_id is not null
  ),
  waiting as (
    select w.*
    from company k
    join public.companies c on c.id = k.company_id and c.subscription_status <> 'cancelled'
    cross join lateral (
      select o.company_id, o.id, o.due_at, row_number() over (order by o.due_at) as turn
      from public.outbox o
      where o.company_id = k.company_id
        and (o.status = 'pending' and o.due_at <= now()
          or o.status = 'sending' and o.claimed_until <= now())
        and not exists (  -- in order: nothing older of the conversation is still on its way
          select from public.outbox older
          where older.company_id = o.company_id and older.conversation_id = o.conversation_id
            and older.seq < o.seq and older.status in ('pending', 'sending'))
      order by o.due_at limit p_limit) w
    where k.company_id is not null
  ),
  chosen as (
    select o.company_id, o.id,
      case
        -- A dead worker held it: it may have arrived, so it is not sent again blindly.
        when o.status = 'sending' then 'unknown'
        when o.fence is not null and (c.fence <> o.fence or c.is_hitl_active) then 'cancelled'
        else 'sending' end as next_status
    from public.outbox o
    join waiting w on w.company_id = o.company_id and w.id = o.id
    join public.conversations c on c.company_id = o.company_id and c.id = o.conversation_id
    where o.status = 'pending' or o.claimed_until <= now()
    order by w.turn, w.due_at
    limit p_limit
    for update of o skip locked
  ),
  claimed as (
    update public.outbox o
    set status = chosen.next_status,
      claim_token = case chosen.next_status when 'sending' then gen_random_uuid() end,
      claimed_until = case chosen.next_status when 'sending' then now() + p_lease end,
      attempts = o.attempts + (chosen.next_status = 'sending')::integer,
      last_error = case chosen.next_status
        when 'unknown' then 'worker_died' when 'cancelled' then 'taken_over' else o.last_error end
    from chosen
    where o.company_id = chosen.company_id and o.id = chosen.id
    returning o.company_id, o.id, o.conversation_id, o.message_id, o.claim_token, o.status
  ),
  told as (
    update public.messages m set status = claimed.status::public.message_status_enum
    from claimed
    where m.company_id = claimed.company_id and m.id = claimed.message_id
      and claimed.status in ('unknown', 'cancelled')
  )
  select claimed.company_id, claimed.id, claimed.conversation_id, claimed.claim_token, claimed.status
  from claimed
$$;
comment on function private.claim_outbox(integer, interval) is
  'Leases messages to send, fairly across companies and in order within a conversation. Messages leased by a dead worker become unknown; bot messages written before a takeover are cancelled. Security definer, called by the worker process, because the queue holds all companies; it returns ids only.';
grant execute on function private.claim_outbox(integer, interval) to neurant_jobs;

create function private.finish_delivery(
  p_outbox uuid, p_token uuid, p_outcome text, p_external_id text default null,
  p_error text default null, p_retry_in interval default null)
returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_message uuid;
begin
  update public.outbox o
  set status = case p_outcome when 'retry' then 'pending' else p_outcome end,
    claim_token = null, claimed_until = null, last_error = p_error,
    due_at = case p_outcome when 'retry' then now() + p_retry_in else o.due_at end,
    sent_at = case p_outcome when 'sent' then now() end
  where o.company_id = (select private.company_id()) and o.id = p_outbox
    -- A lease that ran out while the request was under way: the channel's word still counts.
    and (o.claim_token = p_token or o.status = 'unknown' and p_outcome = 'sent')
  returning o.message_id into v_message;
  if v_message is null then
    return false;
  end if;
  if p_outcome <> 'retry' then
    update public.messages m
    set status = p_outcome::public.message_status_enum,
      external_message_id = coalesce(p_external_id, m.external_message_id)
    where m.company_id = (select private.company_id()) and m.id = v_message;
  end if;
  return true;
end $$;
comment on function private.finish_delivery(uuid, uuid, text, text, text, interval) is
  'Records the outcome of a delivery: sent, failed, unknown, or retry later. Security definer, called by the worker for one company, because no role may write the outbox directly.';
grant execute on function private.finish_delivery(uuid, uuid, text, text, text, interval) to
  neurant_worker;

create function private.next_reply_due() returns timestamptz
language sql stable security definer set search_path = '' as $$
  select min(greatest(r.due_at, coalesce(r.claimed_until, r.due_at)))
  from public.reply_requests r
  join public.companies c on c.id = r.company_id
    and c.subscription_status not in ('cancelled', 'inactive')
$$;
comment on function private.next_reply_due() is
  'Returns when claim_replies has work next, over all companies. Security definer, called by the worker process, because the queue holds all companies.';
grant execute on function private.next_reply_due() to neurant_jobs;

create function private.next_delivery_due() returns timestamptz
language sql stable security definer set search_path = '' as $$
  select min(greatest(o.due_at, coalesce(o.claimed_until, o.due_at)))
  from public.outbox o
  join public.companies c on c.id = o.company_id and c.subscription_status <> 'cancelled'
  where o.status in ('pending', 'sending')
    and not exists (  -- what waits behind an older message is due when that one is
      select from public.outbox older
      where older.company_id = o.company_id and older.conversation_id = o.conversation_id
        and older.seq < o.seq and older.status in ('pending', 'sending'))
$$;
comment on function private.next_delivery_due() is
  'Returns when claim_outbox has work next, over all companies. Security definer, called by the worker process, because the queue holds all companies.';
grant execute on function private.next_delivery_due() to neurant_jobs;
