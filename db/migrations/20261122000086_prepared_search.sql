-- migrate:up
-- The inbox's search is planned once, not for each search.
set local role neurant_router;

-- Prepared once, and without the log's half where the log has nothing of the company: planning it
-- for each search took longer than most searches.
create or replace function private.search_conversations(p_words text)
returns table (conversation_id uuid)
language plpgsql stable security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_all boolean := private.sees_all_chatbots();
  v_bots uuid[];
  v_mine uuid[];
  v_query tsquery;
  v_person text[];
begin
  if v_company is null then
    return;
  end if;
  if not v_all then
    v_bots := private.my_chatbot_ids();
    v_mine := private.my_conversation_ids();
  end if;
  v_query := private.typed_query(p_words, private.word_key(v_company));
  v_person := private.like_patterns(p_words);
  if not exists (select from public.message_changes x where x.company_id = v_company) then
    return query
    select s.conversation_id from public.message_search s
    where s.company_id = v_company and s.search @@ v_query
      and (v_all or s.chatbot_id = any (v_bots) or s.conversation_id = any (v_mine))
    union
    select s.conversation_id from public.conversation_search s
    where s.company_id = v_company and s.person like v_person[1] and s.person like all (v_person)
      and (v_all or s.chatbot_id = any (v_bots) or s.conversation_id = any (v_mine));
    return;
  end if;
  return query
  with pending as materialized (
    select distinct x.message_id, x.conversation_id from public.message_changes x
    where x.company_id = v_company
  ),
  found as (
    select s.conversation_id, s.chatbot_id from public.message_search s
    where s.company_id = v_company and s.search @@ v_query
      and not exists (select from pending p where p.message_id = s.message_id)
    union
    select m.conversation_id, m.chatbot_id
    from (select distinct p.message_id from pending p) p
    join public.messages m on m.company_id = v_company and m.id = p.message_id
    where m.sender_type <> 'system' and private.message_words(v_company, m.content) @@ v_query
    union
    select s.conversation_id, s.chatbot_id from public.conversation_search s
    where s.company_id = v_company and s.person like v_person[1] and s.person like all (v_person)
      and not exists (select from pending p where p.conversation_id = s.conversation_id)
    union
    select c.id, c.chatbot_id
    from (select distinct p.conversation_id from pending p) p
    join public.conversations c on c.company_id = v_company and c.id = p.conversation_id
    where private.person_words(c.end_user_name, c.end_user_id, c.channel) like all (v_person)
  )
  select f.conversation_id from found f
  where v_all or f.chatbot_id = any (v_bots) or f.conversation_id = any (v_mine);
end $$;

reset role;

-- migrate:down
