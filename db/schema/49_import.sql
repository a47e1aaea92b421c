-- Import of conversations from other systems.

create function private.imported_id(p_parent uuid, p_external_id text) returns uuid
language sql stable set search_path = '' as $$
  -- As RFC 9562 has it for hashes of one's own: version 8.
  select encode(set_byte(set_byte(h.bytes, 6, get_byte(h.bytes, 6) & 15 | 128),
    8, get_byte(h.bytes, 8) & 63 | 128), 'hex')::uuid
  from (select substr(sha256(uuid_send(p_parent) || convert_to(p_external_id, 'UTF8')), 1, 16)) as h (bytes)
$$;
comment on function private.imported_id(uuid, text) is
  'Returns the id of an imported object by its parent (the bot, the conversation) and its external id: the same each time.';
grant execute on function private.imported_id(uuid, text) to neurant_router;

create function private.import_conversations(
  p_chatbot uuid, p_external_id text[], p_channel text[], p_end_user_id text[],
  p_end_user_name text[], p_end_user_avatar text[], p_status text[], p_rating integer[],
  p_rating_comment text[], p_summary text[], p_context text[],
  p_of integer[], p_message_id text[], p_sender text[], p_sender_id uuid[], p_type text[],
  p_content text[], p_media_url text[], p_media_type text[], p_sent_at timestamptz[])
returns table (place integer, outcome text, conversation_id uuid, added integer)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.import');
  v_conversations integer := 0;
  v_messages integer := 0;
begin
  if private.user_id() is null or not exists (
    select from public.chatbots b where b.company_id = v_company and b.id = p_chatbot) then
    return;
  end if;
  -- Two imports of one conversation would both find it missing.
  perform pg_advisory_xact_lock(
    hashtextextended('private.import_conversations ' || v_company, 0));
  -- Nobody archives or erases what is being extended.
  perform from public.conversations c
  where c.company_id = v_company
    and c.id = any (array(select private.imported_id(p_chatbot, e.id) from unnest(p_external_id) e (id)))
  order by c.id for update;
  for place, outcome, conversation_id, added in
    with given as materialized (
      select g.*, private.imported_id(p_chatbot, g.external_id) as id,
        count(*) over (partition by g.external_id order by g.place) as time,
        (select a.id from public.channel_accounts a
          where a.company_id = v_company and a.chatbot_id = p_chatbot
            and a.channel = g.channel::public.conversation_channel_enum
          order by a.id limit 1) as account_id
      from unnest(p_external_id, p_channel, p_end_user_id, p_end_user_name, p_end_user_avatar,
          p_status, p_rating, p_rating_comment, p_summary, p_context) with ordinality
        as g (external_id, channel, end_user_id, end_user_name, end_user_avatar,
          status, rating, rating_comment, summary, context, place)
    ),
    conversation as materialized (
      select g.*, live.id is not null as is_live, old.id is not null as is_archived,
        coalesce(live.end_user_id, old.end_user_id) as known_end_user_id,
        coalesce(live.channel_account_id, g.account_id) as channel_account_id,
        coalesce(live.last_seq, 0) as last_seq, live.last_message_at
      from given g
      left join public.conversations live on live.company_id = v_company and live.id = g.id
      left join public.conversations_archived old on old.company_id = v_company and old.id = g.id
    ),
    message as materialized (
      select x.*, case
          when c.is_live then exists (select from public.messages k
            where k.company_id = v_company and k.id = x.id)
          when c.is_archived then exists (select from public.messages_archived k
            where k.company_id = v_company and k.id = x.id)
          else false end as is_known
      from (
        select m.*, private.imported_id(c.id, m.external_id) as id,
          lag(m.sent_at) over (partition by m.of order by m.place) > m.sent_at as is_late,
          row_number() over (partition by m.of, m.external_id order by m.place) > 1 as is_repeated
        from unnest(p_of, p_message_id, p_sender, p_sender_id, p_type, p_content, p_media_url,
            p_media_type, p_sent_at) with ordinality
          as m (of, external_id, sender, sender_id, type, content, media_url, media_type, sent_at,
            place)
        join given c on c.place = m.of) x
      join conversation c on c.place = x.of
    ),
    told as materialized (
      select m.of, max(m.sent_at) as newest, bool_or(m.is_late) as is_late,
        bool_or(m.is_repeated) as is_repeated,
        bool_or(m.sender_id is not null and (u.id is null or m.sender <> 'human'))
          as is_by_unknown,
        bool_or(m.type = 'text' and m.content = '') as is_empty,
        min(m.sent_at) filter (where not m.is_known) as oldest_fresh,
        count(*) filter (where not m.is_known) as fresh,
        count(*) filter (where not m.is_known and m.sender = 'bot') as bot,
        count(*) filter (where not m.is_known and m.sender = 'human') as human
      from message m
      left join public.users u on u.company_id = v_company and u.id = m.sender_id
      group by m.of
    ),
    judged as materialized (
      select c.*, t.newest, t.oldest_fresh, t.fresh, t.bot, t.human,
        case
          when c.time > 1 then 'repeated'
          when c.channel_account_id is null and not c.is_archived then 'no_channel'
          when starts_with(coalesce(c.known_end_user_id, c.end_user_id), 'erased-') then 'erased'
          when c.known_end_user_id <> c.end_user_id then 'other_contact'
          when t.is_repeated then 'repeated_message'
          when t.newest > clock_timestamp() then 'in_the_future'
          when t.is_late then 'out_of_order'
          when t.is_by_unknown then 'unknown_sender'
          when t.is_empty then 'empty_text'
          when t.fresh = 0 then 'unchanged'
          when c.is_archived then 'archived'
          when t.oldest_fresh < c.last_message_at then 'too_early'
          when c.is_live then 'extended'
          else 'imported' end as outcome
      from conversation c
      join told t on t.of = c.place
    ),
    opened as (
      -- Sorted as the arriving messages' are, so that both lock the contacts in one order.
      insert into public.conversations (company_id, id, chatbot_id, channel_account_id, end_user_id,
        end_user_name, end_user_avatar, channel, status, message_count, bot_message_count,
        human_message_count, started_at, last_message_at, ended_at, session_duration_minutes,
        satisfaction_rating, satisfaction_comment, conversation_summary, context_data, last_seq)
      select v_company, j.id, p_chatbot, j.channel_account_id, j.end_user_id,
        j.end_user_name, j.end_user_avatar, j.channel::public.conversation_channel_enum,
        j.status::public.conversation_status_enum, j.fresh, j.bot,
        j.human, j.oldest_fresh, j.newest, j.newest,
        floor(extract(epoch from j.newest - j.oldest_fresh) / 60),
        j.rating, j.rating_comment, j.summary, j.context::jsonb, j.fresh
      from judged j
      where j.outcome = 'imported'
      order by j.channel_account_id, j.end_user_id
    ),
    extended as (
      update public.conversations c
      set last_seq = c.last_seq + j.fresh, message_count = c.message_count + j.fresh,
        bot_message_count = c.bot_message_count + j.bot,
        human_message_count = c.human_message_count + j.human,
        last_message_at = j.newest, ended_at = j.newest,
        session_duration_minutes = floor(extract(epoch from j.newest - c.started_at) / 60)
      from judged j
      where j.outcome = 'extended' and c.company_id = v_company and c.id = j.id
    ),
    said as (
      -- With their numbers: so nobody counts them against the plan, and nobody answers.
      insert into public.messages (company_id, id, conversation_id, chatbot_id, channel_account_id,
        seq, content, message_type, media_url, media_type, sender_type, sender_id, status,
        created_at)
      select v_company, m.id, j.id, p_chatbot, j.channel_account_id,
        j.last_seq + row_number() over (partition by m.of order by m.place), m.content,
        m.type::public.message_type_enum, m.media_url, m.media_type,
        m.sender::public.sender_type_enum, m.sender_id,
        case m.sender when 'end_user' then 'delivered'::public.message_status_enum else 'sent' end,
        m.sent_at
      from message m
      join judged j on j.place = m.of
      where j.outcome in ('imported', 'extended') and not m.is_known
    )
    select j.place, j.outcome,
      case when j.is_live or j.is_archived or j.outcome = 'imported' then j.id end,
      case when j.outcome in ('imported', 'extended') then j.fresh else 0 end
    from judged j
    order by j.place
  loop
    v_conversations := v_conversations + (added > 0)::integer;
    v_messages := v_messages + added;
    return next;
  end loop;
  if v_messages > 0 then
    perform private.write_audit(v_company, 'create', 'conversation_imports', p_chatbot,
      jsonb_build_object('chatbot_id', p_chatbot, 'conversations', v_conversations,
        'messages', v_messages));
  end if;
end $$;
comment on function private.import_conversations(uuid, text[], text[], text[], text[], text[], text[], integer[], text[], text[], text[], integer[], text[], text[], uuid[], text[], text[], text[], text[], timestamptz[]) is
  'Imports past conversations of a bot, each one entirely or not at all. Outcome per conversation: imported, extended, unchanged, or the reason of refusal. They are finished: nothing is sent, answered, notified or counted against the plan. p_of holds each message''s conversation, counted from 1. No rows: no such bot. Security definer, called by staff and API keys, because no role may write conversations and their counters directly.';
grant execute on function private.import_conversations(uuid, text[], text[], text[], text[],
  text[], text[], integer[], text[], text[], text[], integer[], text[], text[], uuid[], text[],
  text[], text[], text[], timestamptz[]) to authenticated;
