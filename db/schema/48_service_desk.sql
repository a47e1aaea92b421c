-- The service desk: reactions, notes and canned responses.

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
  -- Null stands for the one end user of the conversation, who also reacts once at most.
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
create index message_reactions_newest_idx on public.message_reactions (company_id, created_at);

alter table public.message_reactions enable row level security, force row level security;
create policy staff_select on public.message_reactions for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_insert on public.message_reactions for insert to authenticated
  with check (company_id = (select private.company_id('conversations.reply'))
    and reacted_by_user_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_delete on public.message_reactions for delete to authenticated
  using (company_id = (select private.company_id('conversations.reply'))
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
create policy router_select on public.message_reactions for select to neurant_router using (true);
create policy router_insert on public.message_reactions for insert to neurant_router with check (true);
create policy router_update on public.message_reactions for update to neurant_router using (true) with check (true);
create policy router_delete on public.message_reactions for delete to neurant_router using (true);
grant select, delete on public.message_reactions to authenticated;
grant insert (company_id, message_id, reaction_type, comment) on public.message_reactions to
  authenticated, visitor;
grant delete on public.message_reactions to visitor;
grant select (company_id, id, message_id, conversation_id, reaction_type, reacted_by_end_user,
  created_at) on public.message_reactions to visitor;
grant select, insert, delete on public.message_reactions to neurant_router;
grant update (comment) on public.message_reactions to neurant_router;

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
comment on table public.notes is
  'Notes that the staff write to one another about a conversation. The customer never sees them.';
create index notes_conversation_idx on public.notes (company_id, conversation_id, created_at);
create index notes_author_idx on public.notes (company_id, author_id);

alter table public.notes enable row level security, force row level security;
create policy staff_select on public.notes for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_insert on public.notes for insert to authenticated
  with check (company_id = (select private.company_id('conversations.reply'))
    and author_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy router_select on public.notes for select to neurant_router using (true);
create policy router_insert on public.notes for insert to neurant_router with check (true);
create policy router_update on public.notes for update to neurant_router using (true) with check (true);
create policy router_delete on public.notes for delete to neurant_router using (true);
grant select on public.notes to authenticated;
grant insert (company_id, id, conversation_id, content) on public.notes to authenticated;
grant select, insert, delete on public.notes to neurant_router;
grant update (content) on public.notes to neurant_router;

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

alter table public.canned_responses enable row level security, force row level security;
create policy staff_select on public.canned_responses for select to authenticated
  using (company_id = (select private.company_id('canned_responses.read'))
    and (owner_id is null or owner_id = (select private.user_id())));
create policy staff_insert on public.canned_responses for insert to authenticated
  with check (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))));
create policy staff_update on public.canned_responses for update to authenticated
  using (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))))
  with check (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))));
create policy staff_delete on public.canned_responses for delete to authenticated
  using (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))));
create policy router_select on public.canned_responses for select to neurant_router using (true);
create policy router_delete on public.canned_responses for delete to neurant_router using (true);
grant select, delete on public.canned_responses to authenticated, neurant_router;
grant insert (company_id, owner_id, shortcut, content) on public.canned_responses to
  authenticated;
grant update (shortcut, content) on public.canned_responses to authenticated;

select private.audit_table('public.canned_responses', 'owner_id',
  '{owner_id}',
  '{shortcut,content}',
  '{}',
  '{created_at,updated_at}');

create trigger set_updated_at before update on public.canned_responses
  for each row execute function private.update_updated_at_column();

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
  'Sets the person who reacts and the conversation of the message; an insert cannot choose them. Only answers of a bot can be rated. Security definer, called by a trigger, because it reads the message before the policy decides on the complete row.';

create trigger place_reaction before insert on public.message_reactions
  for each row when (new.conversation_id is null) execute function private.place_reaction();

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
  'Sets the author to the caller and the bot to the conversation''s. Security definer, called by a trigger, because an unknown conversation and one out of scope must raise the same error.';

create trigger place_note before insert on public.notes
  for each row when (new.author_id is null) execute function private.place_note();
