-- migrate:up
-- Writing a message, and a person stepping into a conversation and out of it.
-- Lock order everywhere: the conversation first, then what hangs on it.
set local role neurant_owner;

create function private.number_message() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.sender_type is null then  -- only a staff member's insert leaves it out
    new.sender_type := 'human';
    new.sender_id := private.user_id();
    perform private.take_for_reply(new.company_id, new.conversation_id, new.sender_id);
  end if;
  update public.conversations c
  set last_seq = c.last_seq + 1,
    message_count = c.message_count + 1,
    bot_message_count = c.bot_message_count + (new.sender_type = 'bot')::integer,
    human_message_count = c.human_message_count + (new.sender_type = 'human')::integer,
    last_message_at = greatest(c.last_message_at, now())
  where c.company_id = new.company_id and c.id = new.conversation_id
  returning c.last_seq, c.chatbot_id, c.channel_account_id,
    case when c.channel = 'web' then 'sent' else 'pending' end
  into new.seq, new.chatbot_id, new.channel_account_id, new.status;
  return new;
end $$;
comment on function private.number_message() is
  'Gives a message its sender, its place in the conversation and its first delivery state, and keeps the conversation''s counters. Definer: nobody may write those by hand. (Ingest numbers its own, a batch at a time.)';

create function private.send_message() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.outbox
    (company_id, conversation_id, message_id, channel_account_id, seq, fence)
  select c.company_id, c.id, new.id, c.channel_account_id, new.seq,
    case when new.sender_type = 'bot' then c.fence end
  from public.conversations c
  where c.company_id = new.company_id and c.id = new.conversation_id and c.channel <> 'web';
  return null;
end $$;
comment on function private.send_message() is
  'What is said to an end user leaves through the outbox, in the same transaction. (The web chat reads messages itself.) Definer: nobody may write the outbox by hand.';

create function private.follow_hitl_session() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.conversations c
  set fence = c.fence + 1,
    is_hitl_active = new.ended_at is null,
    assigned_operator_id = case when new.ended_at is null then new.operator_id end,
    hitl_activated_at = case when new.ended_at is null then new.opened_at end,
    hitl_reason = case when new.ended_at is null then new.reason end
  where c.company_id = new.company_id and c.id = new.conversation_id;
  insert into public.messages
    (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, sender_id, content)
  select new.company_id, new.conversation_id, new.chatbot_id, c.channel_account_id, 'system',
    coalesce(new.ended_by, new.operator_id),
    case new.status
      when 'pending' then 'hitl_queued'
      when 'active' then 'hitl_taken'
      else 'hitl_resolved' end
  from public.conversations c
  where c.company_id = new.company_id and c.id = new.conversation_id;
  return null;
end $$;
comment on function private.follow_hitl_session() is
  'hitl_sessions is the truth; the conversation''s HITL columns follow it, the fence rises, and a system line tells everybody. Definer: nobody may write those by hand.';

create function private.can_work_on(p_conversation uuid) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (
    select from public.conversations c
    where c.company_id = (select private.company_id()) and c.id = p_conversation
      and ((select private.sees_all_chatbots())
        or c.chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
        or c.assigned_operator_id = (select private.user_id())))
$$;
comment on function private.can_work_on(uuid) is
  'May the verified staff member see and serve this conversation? Definer: used by definers, whose own policies see every company.';

create function private.take_conversation(p_conversation uuid, p_take_over boolean default false)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_user uuid := private.user_id();
  v_chatbot uuid;
  v_session public.hitl_sessions;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  select c.chatbot_id into v_chatbot from public.conversations c
  where c.company_id = v_company and c.id = p_conversation and c.status = 'active' for update;
  if v_chatbot is null then
    return 'closed';
  end if;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation and s.ended_at is null;
  if v_session.id is null then
    insert into public.hitl_sessions
      (company_id, conversation_id, chatbot_id, status, reason, operator_id, taken_at)
    values (v_company, p_conversation, v_chatbot, 'active', 'manual', v_user, now());
    return 'taken';
  end if;
  if v_session.operator_id = v_user then
    return 'yours';
  end if;
  if v_session.status = 'active' and not (p_take_over and private.sees_all_chatbots()) then
    return 'taken_by_other';
  end if;
  update public.hitl_sessions s
  set status = 'active', operator_id = v_user, taken_at = coalesce(s.taken_at, now())
  where s.company_id = v_company and s.id = v_session.id;
  return 'taken';
end $$;
comment on function private.take_conversation(uuid, boolean) is
  'A staff member takes a conversation: taken, yours, taken_by_other, closed or not_found. One of two who race wins. Definer: it writes hitl_sessions for a caller whose scope it checks itself.';

create function private.take_for_reply(p_company uuid, p_conversation uuid, p_user uuid)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_outcome text;
begin
  if p_user is null or p_company is distinct from private.company_id() then
    raise exception 'new row violates row-level security policy for table "messages"'
      using errcode = 'insufficient_privilege';
  end if;
  v_outcome := private.take_conversation(p_conversation);
  if v_outcome = 'not_found' then
    raise exception 'new row violates row-level security policy for table "messages"'
      using errcode = 'insufficient_privilege';
  elsif v_outcome in ('taken_by_other', 'closed') then
    raise exception 'conversation is %', v_outcome using errcode = 'NA001', hint = v_outcome;
  end if;
  update public.hitl_sessions s
  set first_response_at = now()
  where s.company_id = p_company and s.conversation_id = p_conversation
    and s.ended_at is null and s.first_response_at is null;
end $$;
comment on function private.take_for_reply(uuid, uuid, uuid) is
  'Sending takes the conversation. NA001 with the hint taken_by_other or closed where it cannot. Definer, as take_conversation.';

create function private.resolve_conversation(p_conversation uuid, p_notes text default null)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_user uuid := private.user_id();
  v_session public.hitl_sessions;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation and s.ended_at is null;
  if v_session.id is null then
    return 'not_open';
  end if;
  if v_session.operator_id is distinct from v_user and v_session.operator_id is not null
    and not private.sees_all_chatbots() then
    return 'taken_by_other';
  end if;
  update public.hitl_sessions s
  set status = 'resolved', ended_at = now(), ended_by = v_user, resolution_notes = p_notes
  where s.company_id = v_company and s.id = v_session.id;
  return 'resolved';
end $$;
comment on function private.resolve_conversation(uuid, text) is
  'Ends the takeover; the bot answers again: resolved, not_open, taken_by_other or not_found. Definer, as take_conversation.';

create function private.resend_message(p_message uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_conversation uuid;
begin
  select m.conversation_id into v_conversation from public.messages m
  where m.company_id = v_company and m.id = p_message;
  if v_conversation is null or not private.can_work_on(v_conversation) then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = v_conversation for update;
  update public.outbox o
  set status = 'pending', due_at = now(), attempts = 0, fence = null, last_error = null
  where o.company_id = v_company and o.message_id = p_message and o.status in ('failed', 'unknown');
  if not found then
    return 'not_resendable';
  end if;
  update public.messages m set status = 'pending'
  where m.company_id = v_company and m.id = p_message;
  return 'resent';
end $$;
comment on function private.resend_message(uuid) is
  'A person decides to send again what failed or may not have arrived: resent, not_resendable or not_found. Definer: nobody may write the outbox by hand.';

create function private.operator_name(p_user uuid) returns text
language sql stable security definer set search_path = '' as $$
  select u.first_name from public.users u
  where u.company_id = (select private.company_id()) and u.id = p_user
$$;
comment on function private.operator_name(uuid) is
  'First name of a colleague who speaks in a conversation: all that a visitor, or an operador, is told. Definer: neither may read users.';

create trigger number_message before insert on public.messages
  for each row when (new.seq is null) execute function private.number_message();
create trigger send_message after insert on public.messages
  for each row when (new.sender_type <> 'end_user') execute function private.send_message();
create trigger follow_hitl_session after insert or update of status, operator_id on public.hitl_sessions
  for each row execute function private.follow_hitl_session();

grant execute on function private.take_conversation(uuid, boolean),
  private.resolve_conversation(uuid, text), private.resend_message(uuid) to authenticated;
grant execute on function private.operator_name(uuid) to authenticated, visitor, neurant_worker;
grant execute on function private.can_work_on(uuid), private.take_conversation(uuid, boolean),
  private.take_for_reply(uuid, uuid, uuid) to neurant_router;

alter function private.number_message() owner to neurant_router;
alter function private.send_message() owner to neurant_router;
alter function private.follow_hitl_session() owner to neurant_router;
alter function private.can_work_on(uuid) owner to neurant_router;
alter function private.take_conversation(uuid, boolean) owner to neurant_router;
alter function private.take_for_reply(uuid, uuid, uuid) owner to neurant_router;
alter function private.resolve_conversation(uuid, text) owner to neurant_router;
alter function private.resend_message(uuid) owner to neurant_router;
alter function private.operator_name(uuid) owner to neurant_router;

reset role;
-- migrate:down
