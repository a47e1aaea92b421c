-- migrate:up
-- What people add to a conversation: reactions, notes, ready answers, and passing it on to a colleague.
set local role neurant_owner;

create type public.reaction_type_enum as enum ('thumbs_up', 'thumbs_down', 'helpful', 'not_helpful');

create table public.message_reactions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  message_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  reaction_type public.reaction_type_enum not null,
  comment text check (char_length(comment) <= 2000),
  reacted_by_user_id uuid,
  reacted_by_end_user boolean not null default false,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  -- Null is the one end user of the conversation, who reacts once too.
  unique nulls not distinct (company_id, message_id, reaction_type, reacted_by_user_id),
  foreign key (company_id, message_id) references public.messages (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, reacted_by_user_id) references public.users (company_id, id),
  check (reacted_by_end_user = (reacted_by_user_id is null))
);
create index message_reactions_conversation_idx
  on public.message_reactions (company_id, conversation_id);
create index message_reactions_user_idx on public.message_reactions (company_id, reacted_by_user_id)
  where reacted_by_user_id is not null;

create table public.notes (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  chatbot_id uuid not null,
  author_id uuid not null,
  content text not null check (btrim(content) <> '' and char_length(content) <= 10000),
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, author_id) references public.users (company_id, id)
);
comment on table public.notes is 'What the staff write to one another about a conversation. The customer never sees them.';
create index notes_conversation_idx on public.notes (company_id, conversation_id, created_at);
create index notes_author_idx on public.notes (company_id, author_id);

create table public.canned_responses (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  owner_id uuid,
  shortcut varchar(50) not null check (shortcut ~ '^[a-z0-9_-]+$'),
  content text not null check (btrim(content) <> '' and char_length(content) <= 10000),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  unique nulls not distinct (company_id, owner_id, shortcut),
  foreign key (company_id, owner_id) references public.users (company_id, id)
);
comment on column public.canned_responses.owner_id is 'Null: shared with the whole company.';

create table public.hitl_transfers (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  session_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  from_user_id uuid not null,
  to_user_id uuid not null,
  kind text not null default 'escalation'
    check (kind in ('escalation', 'skill_based', 'workload_distribution', 'emergency')),
  reason text not null check (btrim(reason) <> '' and char_length(reason) <= 2000),
  status text not null default 'pending'
    check (status in ('pending', 'accepted', 'rejected', 'expired', 'cancelled')),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null default now() + interval '5 minutes',
  decided_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, session_id) references public.hitl_sessions (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, from_user_id) references public.users (company_id, id),
  foreign key (company_id, to_user_id) references public.users (company_id, id),
  check (from_user_id <> to_user_id),
  check ((status = 'pending') = (decided_at is null))
);
comment on table public.hitl_transfers is
  'A request to pass a takeover on. Until the other accepts, the conversation stays where it is.';
create unique index hitl_transfers_open_key
  on public.hitl_transfers (company_id, session_id) where status = 'pending';
create index hitl_transfers_session_idx on public.hitl_transfers (company_id, session_id);
create index hitl_transfers_conversation_idx on public.hitl_transfers (company_id, conversation_id);
create index hitl_transfers_from_idx on public.hitl_transfers (company_id, from_user_id);
create index hitl_transfers_to_idx on public.hitl_transfers (company_id, to_user_id);
create index hitl_transfers_expiring_idx on public.hitl_transfers (expires_at) where status = 'pending';

create function private.place_reaction() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  select m.conversation_id, m.chatbot_id into new.conversation_id, new.chatbot_id
  from public.messages m
  where m.company_id = new.company_id and m.id = new.message_id and m.sender_type = 'bot';
  if new.conversation_id is null or new.company_id is distinct from private.company_id() then
    raise exception 'new row violates row-level security policy for table "message_reactions"'
      using errcode = 'insufficient_privilege';
  end if;
  new.reacted_by_user_id := private.user_id();
  new.reacted_by_end_user := new.reacted_by_user_id is null;
  return new;
end $$;
comment on function private.place_reaction() is
  'Who reacts and to which conversation the message belongs are looked up, never told; only answers of a bot are rated. Definer: the policy then decides by what it found.';

create function private.place_note() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  new.author_id := private.user_id();
  new.chatbot_id := (
    select c.chatbot_id from public.conversations c
    where c.company_id = new.company_id and c.id = new.conversation_id);
  if new.chatbot_id is null or new.author_id is null
    or new.company_id is distinct from private.company_id() then
    raise exception 'new row violates row-level security policy for table "notes"'
      using errcode = 'insufficient_privilege';
  end if;
  return new;
end $$;
comment on function private.place_note() is
  'The author is the caller, the bot the conversation''s. Definer: an unknown conversation and one out of scope must look alike.';

create function private.level(p_role public.user_role_enum) returns integer
language sql immutable set search_path = '' as $$
  select case p_role when 'owner' then 4 when 'administrador' then 3 when 'supervisor' then 2 else 1 end
$$;

create function private.request_transfer(
  p_conversation uuid, p_to uuid, p_kind text, p_reason text) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_user uuid := private.user_id();
  v_session public.hitl_sessions;
  v_to public.users;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation
    and s.ended_at is null and s.operator_id = v_user;
  if v_session.id is null then
    return 'not_yours';
  end if;
  select u.* into v_to from public.users u
  where u.company_id = v_company and u.id = p_to and u.is_active and u.id <> v_user;
  if v_to.id is null or private.level(v_to.role) < private.level(private.user_role())
    or v_to.role = 'operador' and not exists (
      select from public.chatbot_operators o
      where o.company_id = v_company and o.chatbot_id = v_session.chatbot_id
        and o.operator_id = v_to.id and o.is_active) then
    return 'invalid_target';
  end if;
  insert into public.hitl_transfers
    (company_id, session_id, conversation_id, chatbot_id, from_user_id, to_user_id, kind, reason)
  values (v_company, v_session.id, p_conversation, v_session.chatbot_id, v_user, p_to, p_kind, p_reason)
  on conflict do nothing;
  if not found then
    return 'already_requested';
  end if;
  insert into public.notifications (company_id, user_id, kind, details)
  values (v_company, p_to, 'transfer_requested', jsonb_build_object('conversation_id', p_conversation));
  return 'requested';
end $$;
comment on function private.request_transfer(uuid, uuid, text, text) is
  'Asks a colleague (same level or above, who serves the bot) to take a conversation over: requested, already_requested, invalid_target, not_yours or not_found. Definer: an operador may not see every colleague.';

create function private.decide_transfer(p_transfer uuid, p_accept boolean) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_user uuid := private.user_id();
  v_transfer public.hitl_transfers;
begin
  select t.* into v_transfer from public.hitl_transfers t
  where t.company_id = v_company and t.id = p_transfer and t.to_user_id = v_user;
  if v_transfer.id is null then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = v_transfer.conversation_id for update;
  update public.hitl_transfers t
  set status = case
      when t.expires_at <= now() then 'expired'
      when p_accept then 'accepted'
      else 'rejected' end,
    decided_at = now()
  where t.company_id = v_company and t.id = p_transfer and t.status = 'pending'
  returning t.* into v_transfer;
  if not found then
    return 'closed';
  end if;
  if v_transfer.status = 'accepted' then
    update public.hitl_sessions s set operator_id = v_user
    where s.company_id = v_company and s.id = v_transfer.session_id and s.ended_at is null
      and s.operator_id = v_transfer.from_user_id;
    if not found then
      update public.hitl_transfers t set status = 'cancelled'
      where t.company_id = v_company and t.id = p_transfer;
      return 'closed';
    end if;
  end if;
  insert into public.notifications (company_id, user_id, kind, details)
  values (v_company, v_transfer.from_user_id, 'transfer_' || v_transfer.status,
    jsonb_build_object('conversation_id', v_transfer.conversation_id));
  return v_transfer.status;
end $$;
comment on function private.decide_transfer(uuid, boolean) is
  'The colleague''s answer: accepted, rejected, expired, closed (decided or ended meanwhile) or not_found. Definer: it hands over hitl_sessions, which nobody writes by hand.';

create function private.expire_transfers(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_expired integer;
begin
  with expired as (
    update public.hitl_transfers t set status = 'expired', decided_at = p_now
    where t.status = 'pending' and t.expires_at <= p_now
    returning t.company_id, t.from_user_id, t.conversation_id
  )
  insert into public.notifications (company_id, user_id, kind, details)
  select e.company_id, e.from_user_id, 'transfer_expired',
    jsonb_build_object('conversation_id', e.conversation_id)
  from expired e;
  get diagnostics v_expired = row_count;
  return v_expired;
end $$;
comment on function private.expire_transfers(timestamptz) is
  'Requests that nobody answered in time end, over all companies; how many. Definer: a timer has no company.';

alter table public.message_reactions enable row level security, force row level security;
alter table public.notes enable row level security, force row level security;
alter table public.canned_responses enable row level security, force row level security;
alter table public.hitl_transfers enable row level security, force row level security;

create policy staff_select on public.message_reactions for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_insert on public.message_reactions for insert to authenticated
  with check (company_id = (select private.company_id())
    and reacted_by_user_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_delete on public.message_reactions for delete to authenticated
  using (company_id = (select private.company_id())
    and reacted_by_user_id = (select private.user_id()));
create policy visitor_select on public.message_reactions for select to visitor
  using (company_id = (select private.company_id()) and reacted_by_end_user
    and conversation_id = (select private.visitor_conversation_id()));
create policy visitor_insert on public.message_reactions for insert to visitor
  with check (company_id = (select private.company_id()) and reacted_by_end_user
    and conversation_id = (select private.visitor_conversation_id()));
create policy visitor_delete on public.message_reactions for delete to visitor
  using (company_id = (select private.company_id()) and reacted_by_end_user
    and conversation_id = (select private.visitor_conversation_id()));
create policy staff_select on public.notes for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_insert on public.notes for insert to authenticated
  with check (company_id = (select private.company_id())
    and author_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_select on public.canned_responses for select to authenticated
  using (company_id = (select private.company_id())
    and (owner_id is null or owner_id = (select private.user_id())));
create policy staff_insert on public.canned_responses for insert to authenticated
  with check (company_id = (select private.company_id())
    and (owner_id = (select private.user_id())
      or owner_id is null and (select private.sees_all_chatbots())));
create policy staff_update on public.canned_responses for update to authenticated
  using (company_id = (select private.company_id())
    and (owner_id = (select private.user_id())
      or owner_id is null and (select private.sees_all_chatbots())))
  with check (company_id = (select private.company_id())
    and (owner_id = (select private.user_id())
      or owner_id is null and (select private.sees_all_chatbots())));
create policy staff_delete on public.canned_responses for delete to authenticated
  using (company_id = (select private.company_id())
    and (owner_id = (select private.user_id())
      or owner_id is null and (select private.sees_all_chatbots())));
create policy staff_select on public.hitl_transfers for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or to_user_id = (select private.user_id())));

grant select on public.message_reactions, public.notes, public.canned_responses, public.hitl_transfers
  to authenticated;
grant insert (company_id, message_id, reaction_type, comment) on public.message_reactions
  to authenticated, visitor;
grant delete on public.message_reactions to authenticated, visitor;
grant select (company_id, id, message_id, conversation_id, reaction_type, reacted_by_end_user,
  created_at) on public.message_reactions to visitor;
grant insert (company_id, id, conversation_id, content) on public.notes to authenticated;
grant insert (company_id, owner_id, shortcut, content), update (shortcut, content), delete
  on public.canned_responses to authenticated;

create policy router_select on public.hitl_transfers for select to neurant_router using (true);
create policy router_insert on public.hitl_transfers for insert to neurant_router with check (true);
create policy router_update on public.hitl_transfers for update to neurant_router using (true) with check (true);
grant select, insert, update on public.hitl_transfers to neurant_router;

create trigger place_reaction before insert on public.message_reactions
  for each row execute function private.place_reaction();
create trigger place_note before insert on public.notes
  for each row execute function private.place_note();
create trigger set_updated_at before update on public.canned_responses
  for each row execute function private.update_updated_at_column();

grant execute on function private.level(public.user_role_enum) to neurant_router;
grant execute on function private.request_transfer(uuid, uuid, text, text),
  private.decide_transfer(uuid, boolean) to authenticated;
grant execute on function private.expire_transfers(timestamptz) to neurant_jobs;
alter function private.place_reaction() owner to neurant_router;
alter function private.place_note() owner to neurant_router;
alter function private.request_transfer(uuid, uuid, text, text) owner to neurant_router;
alter function private.decide_transfer(uuid, boolean) owner to neurant_router;
alter function private.expire_transfers(timestamptz) owner to neurant_router;

reset role;
-- migrate:down
