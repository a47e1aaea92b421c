-- migrate:up
-- Delivery never runs backwards: what the database knows of a message is never less than before.
set local role neurant_owner;

create function private.advance_status() returns trigger
language plpgsql set search_path = '' as $$
begin
  if new.status <> old.status and not (case old.status
    when 'pending' then true
    when 'sent' then new.status in ('delivered', 'read', 'failed')
    when 'delivered' then new.status = 'read'
    when 'unknown' then new.status in ('pending', 'sent', 'delivered', 'read', 'failed')
    -- Sent again by a person; or the channel failed to say that it had arrived after all.
    when 'failed' then new.status in ('pending', 'delivered', 'read')
    else false end)
  then
    new.status := old.status;
  end if;
  -- Each moment is written once, with its state, and never before the one that it follows.
  new.delivered_at := case when new.status in ('delivered', 'read')
    then coalesce(old.delivered_at, new.delivered_at, least(now(), new.read_at)) end;
  new.read_at := case when new.status = 'read'
    then coalesce(old.read_at, greatest(coalesce(new.read_at, now()), new.delivered_at)) end;
  return new;
end $$;
comment on function private.advance_status() is
  'Takes an event of delivery only forwards: one that is late, doubled or contradicts a better one changes nothing.';

create trigger advance_status before update of status, delivered_at, read_at on public.messages
  for each row when (
    (old.status, old.delivered_at, old.read_at)
    is distinct from (new.status, new.delivered_at, new.read_at))
  execute function private.advance_status();

-- What an end user wrote is delivered by being here, at created_at.
alter table public.messages add constraint messages_delivery_check check (
  (read_at is not null) = (status = 'read')
  and (delivered_at is null or status in ('delivered', 'read'))
  and (delivered_at is not null or status not in ('delivered', 'read')
    or sender_type = 'end_user' and status = 'delivered')
  and (read_at >= delivered_at) is not false) not valid;

-- As the router: nobody else may replace what it owns.
set local role neurant_router;
create or replace function private.resend_message(p_message uuid) returns text
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
  -- Never what the channel has meanwhile said to have arrived.
  update public.outbox o
  set status = 'pending', due_at = now(), attempts = 0, fence = null, last_error = null,
    sent_at = null
  from public.messages m
  where o.company_id = v_company and o.message_id = p_message
    and o.status in ('sent', 'failed', 'unknown')
    and m.company_id = o.company_id and m.id = o.message_id and m.status in ('failed', 'unknown');
  if not found then
    return 'not_resendable';
  end if;
  update public.messages m set status = 'pending'
  where m.company_id = v_company and m.id = p_message;
  return 'resent';
end $$;

reset role;
-- migrate:down
