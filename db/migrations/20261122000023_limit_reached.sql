-- migrate:up
-- At the end of a month's allowance the bot says so once, and a person takes over where there are any.
set local role neurant_owner;

alter table public.hitl_sessions drop constraint hitl_sessions_reason_check;
alter table public.hitl_sessions add constraint hitl_sessions_reason_check
  check (reason in ('user_request', 'keywords', 'no_answer', 'manual', 'limit_reached')) not valid;

create function private.give_notice(p_company uuid, p_conversation uuid, p_notice text) returns uuid
language sql volatile security definer set search_path = '' as $$
  insert into public.messages
    (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, content)
  select c.company_id, c.id, c.chatbot_id, c.channel_account_id, 'system', p_notice
  from public.conversations c
  where c.company_id = p_company and c.id = p_conversation
  returning id
$$;
comment on function private.give_notice(uuid, uuid, text) is
  'A line of the system''s own, by its key in the message catalogue; it is never billed. Definer: sender and order are the database''s to write.';

create function private.tell_of_limit(p_company uuid, p_conversation uuid) returns uuid
language sql volatile security definer set search_path = '' as $$
  select private.give_notice(p_company, p_conversation, 'limit_reached')
  from public.companies k
  where k.id = p_company and not exists (
    select from public.messages m
    where m.company_id = k.id and m.conversation_id = p_conversation
      and m.sender_type = 'system' and m.content = 'limit_reached'
      and m.created_at >= k.monthly_reset_date::timestamp at time zone k.timezone)
$$;
comment on function private.tell_of_limit(uuid, uuid) is
  'Tells an end user that the assistant has reached its limit, once a month; null where it was told. Definer, as give_notice.';

create function private.message_limit_reached() returns boolean
language sql stable security definer set search_path = '' as $$
  select c.monthly_message_limit <> -1
    and coalesce(private.message_usage(c.id) >= c.monthly_message_limit, false)
  from public.companies c
  where c.id = (select private.company_id())
$$;
comment on function private.message_limit_reached() is
  'Whether the caller''s company has no bot message left this month: worth knowing before an answer is sought. Definer: the slots are nobody''s to read.';

grant execute on function private.give_notice(uuid, uuid, text),
  private.tell_of_limit(uuid, uuid) to neurant_router;
grant execute on function private.message_limit_reached() to neurant_worker;
alter function private.give_notice(uuid, uuid, text) owner to neurant_router;
alter function private.tell_of_limit(uuid, uuid) owner to neurant_router;
alter function private.message_limit_reached() owner to neurant_router;

-- As the router: nobody else may replace what it owns.
set local role neurant_router;
create or replace function private.finish_reply(
  p_conversation uuid, p_token uuid, p_fence bigint, p_read_seq bigint, p_action text,
  p_content text default null, p_sources jsonb default '[]', p_confidence numeric default null,
  p_model text default null, p_processing_ms integer default null,
  p_reason text default null, p_detail text default null)
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
        processing_time_ms)
      values (v_company, p_conversation, v_conversation.chatbot_id,
        v_conversation.channel_account_id, 'bot', p_content, p_sources, p_sources <> '[]',
        p_confidence, p_model, p_processing_ms)
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
comment on function private.finish_reply(uuid, uuid, bigint, bigint, text, text, jsonb, numeric, text, integer, text, text) is
  'Writes what a reply came to (answer, escalate, notice, limit, none) if its lease and the conversation''s fence still hold, and settles the request. Outcome: done, limited (no bot message is left this month: the notice, and a person), fenced, superseded (more happened meanwhile: claim again) or lost. Definer: sender, queue and takeover are not the worker''s to write by hand.';

reset role;
-- migrate:down
